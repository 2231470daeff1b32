// An HourChain is one hour's key, which ratchets from second to second: a chain key gives the leaf of its
// second and the chain key of the next one, and nothing leads back.
//
//   leaf of second i  = HKDF-Expand(k_i, "mayfly second v1")         salts the keys of payloads
//   k_(i+1)           = HKDF-Expand(k_i, "mayfly next second v1")
//
//            k_0 ---> k_1 ---> k_2 ---> ... ---> k_3599
//             |        |        |                   |
//           leaf 0   leaf 1   leaf 2             leaf 3599
//
// Once the chain key has moved on, the leaves before it can be computed by nobody: forgetting k_i and leaf
// i ends every payload that was due in second i, one or ten million.
//
// Keeps the leaves that were asked for, as HMAC keys, so that each step is taken once: 225 KiB of locked
// memory for an hour. Not thread-safe.
#pragma once

#include <cstdint>

#include "base/locked_memory.h"
#include "base/secret_bytes.h"
#include "crypto/hmac.h"
#include "keys/keyring_format.h"

namespace mayfly {

class HourChain {
 public:
  // `key` is the chain key of second `first_open`, which is below kSecondsPerHour.
  HourChain(SecretBytes key, uint32_t first_open);

  // The first second that is not closed; kSecondsPerHour when all are.
  uint32_t first_open() const { return first_open_; }
  // The chain key of that second. Empty when all seconds are closed.
  const SecretBytes& key() const { return key_; }

  // Copies the leaf of a second from first_open() on, as an HmacKey saves it. The caller wipes it.
  void CopyLeaf(uint32_t second, uint8_t saved[HmacKey::kSavedSize]);
  // Forgets everything that leads to the leaves of seconds before `second`. Never goes back.
  void CloseBefore(uint32_t second);

 private:
  static constexpr size_t kTableBytes = size_t{kSecondsPerHour} * HmacKey::kSavedSize;

  // Computes the leaves that are missing up to `second`.
  void ExtendTo(uint32_t second);
  uint8_t* LeafOf(uint32_t second) {
    return leaves_.ExposeMutableBytes().data() + size_t{second} * HmacKey::kSavedSize;
  }

  uint32_t first_open_;
  SecretBytes key_;  // of first_open_
  // The leaves from first_open_ up to, and without, `computed_end_`, and the chain key of that one.
  LockedMemory leaves_;
  uint32_t computed_end_;
  SecretBytes computed_key_;
};

}  // namespace mayfly
