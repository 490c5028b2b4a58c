# The golden pages of the unit tests are the seeds; NAME_corpus has what fuzzers found.
set(golden_pages ${PROJECT_SOURCE_DIR}/tests/unit/manifest/golden)
icbd_fuzz_target(manifest_root SOURCES manifest_root.cpp DEPENDS manifest
  CORPUS ${golden_pages}/root)
icbd_fuzz_target(manifest_metadata_page SOURCES manifest_metadata_page.cpp DEPENDS manifest
  CORPUS ${golden_pages}/metadata)
icbd_fuzz_target(manifest_digest_page SOURCES manifest_digest_page.cpp DEPENDS manifest
  CORPUS ${golden_pages}/digests)
