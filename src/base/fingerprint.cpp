#include "icbd/base/fingerprint.h"

#include <xxhash.h>

namespace icbd {

Fingerprint fingerprint(std::span<const std::byte> data) {
  return Fingerprint(XXH3_64bits(data.data(), data.size()));
}

}  // namespace icbd
