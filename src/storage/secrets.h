// The secrets of payloads, without which their ciphertext is noise, and the keys of the hours.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "base/secret_bytes.h"
#include "base/slot_ref.h"
#include "keys/keyring.h"
#include "keys/slot_file.h"
#include "retention/due.h"

namespace mayfly {

// The second under whose leaf the payload is sealed.
inline SecondRef SecondOf(const StoredPayload& payload) {
  return {.hour_key = payload.hour_key, .due_s = DueSecond(payload.deadline_ms)};
}

// Thread-safe.
class Secrets {
 public:
  virtual ~Secrets() = default;

  // See keys/slot_file.h. A reserved slot is either committed or returned.
  virtual absl::StatusOr<std::vector<SlotLease>> ReserveSlots(size_t count) = 0;
  virtual void ReturnSlots(absl::Span<const SlotRef> slots) = 0;
  virtual SlotState StateOf(SlotRef slot) const = 0;
  // NOT_FOUND when the slot does not hold that generation, DATA_LOSS when it is damaged.
  virtual absl::StatusOr<SecretBytes> ReadSecret(SlotRef slot) const = 0;
  virtual Keyring* keyring() = 0;

  // Rises with every start, before anything is served.
  virtual uint64_t boot_number() const = 0;

  // Overwrites the slots' secrets. A slot is free for reuse after the next Sync: until the removal of
  // its row is durable too, its erased mark is what tells that the payload has ended.
  virtual absl::Status Erase(absl::Span<const SlotRef> slots) = 0;
  // Returns when all that was erased before the call is on the disk; what was committed may not be.
  virtual absl::Status SyncErasures() = 0;
};

}  // namespace mayfly
