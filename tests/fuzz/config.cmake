# The seeds are small configurations, right and wrong ones.
icbd_fuzz_target(config_text SOURCES config_text.cpp DEPENDS config)
