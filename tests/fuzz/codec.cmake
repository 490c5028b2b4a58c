# The corpus: one packed block per algorithm, and damaged ones.
icbd_fuzz_target(codec_decompress SOURCES codec_decompress.cpp DEPENDS codec)
