# The corpus begins with one seed per message, as the encoders write it.
icbd_fuzz_target(wire_messages SOURCES wire_messages.cpp DEPENDS wire
  INCLUDE ${PROJECT_SOURCE_DIR}/src/wire)
