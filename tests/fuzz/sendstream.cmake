# The kernel's streams are the seeds; private headers give the targets the checksum.
icbd_fuzz_target(sendstream_decoder SOURCES sendstream_decoder.cpp DEPENDS sendstream
  CORPUS ${PROJECT_SOURCE_DIR}/tests/unit/sendstream/golden
  INCLUDE ${PROJECT_SOURCE_DIR}/src/sendstream)
icbd_fuzz_target(sendstream_tree_model SOURCES sendstream_tree_model.cpp DEPENDS sendstream
  CORPUS ${PROJECT_SOURCE_DIR}/tests/unit/sendstream/golden
  INCLUDE ${PROJECT_SOURCE_DIR}/src/sendstream)
icbd_fuzz_target(sendstream_decompress SOURCES sendstream_decompress.cpp DEPENDS sendstream
  CORPUS ${PROJECT_SOURCE_DIR}/tests/unit/sendstream/golden
  INCLUDE ${PROJECT_SOURCE_DIR}/src/sendstream)
