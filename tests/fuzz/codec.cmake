# The corpus: one packed block per algorithm, and damaged ones.
icbd_fuzz_target(codec_decompress SOURCES codec_decompress.cpp DEPENDS codec)
# The corpus: one packed stream per container, two in one, and cut ones.
icbd_fuzz_target(codec_stream SOURCES codec_stream.cpp DEPENDS codec)
