// Fast checksums (XXH3-64), for comparing bytes with what this process, or a peer, has seen of them
// before.
//
// Not a digest: whoever wants to can make other bytes with the same fingerprint. Content is proven
// by SHA-256 (digest.h); a fingerprint tells whether proven bytes have stayed as they were, at the
// speed of memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "icbd/base/types.h"

namespace icbd {

using Fingerprint = StrongNumber<struct FingerprintTag, std::uint64_t>;

// Thread-safe.
Fingerprint fingerprint(std::span<const std::byte> data);

// The fingerprint of bytes that come in pieces. Not thread-safe.
class FingerprintOfPieces {
 public:
  FingerprintOfPieces();
  ~FingerprintOfPieces();
  FingerprintOfPieces(const FingerprintOfPieces&) = delete;
  FingerprintOfPieces& operator=(const FingerprintOfPieces&) = delete;

  void add(std::span<const std::byte> piece);
  // Of all pieces so far.
  Fingerprint value() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace icbd
