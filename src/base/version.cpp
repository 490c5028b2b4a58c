#include "icbd/base/version.h"

namespace icbd {

std::string_view version() {
  return ICBD_VERSION;
}

}  // namespace icbd
