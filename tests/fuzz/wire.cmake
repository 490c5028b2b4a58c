# The corpus begins with one seed per message, as the encoders write it.
# What it looks at is compiled into it: the rest of wire stands on half of the project.
set(wire ${PROJECT_SOURCE_DIR}/src/wire)
icbd_fuzz_target(wire_messages SOURCES wire_messages.cpp ${wire}/frame.cpp ${wire}/messages.cpp
  DEPENDS base codec catalog
  INCLUDE ${wire})
