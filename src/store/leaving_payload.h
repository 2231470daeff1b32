// What the store and its caller tell each other of payloads on their way out: what is held in memory
// for a client must be bounded, and must be let go of when the payload ends.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace mayfly {

// A payload as who holds it needs to know it. The generation of its slot names it for ever.
struct LeavingPayload {
  uint64_t generation = 0;
  uint64_t held_bytes = 0;  // at most, at a time
  int64_t until_ms = 0;     // its deadline: to be compared with Now::read_ms
};

// Takes the payloads of one request. Outlives it, and is called on any thread.
class PayloadTaker {
 public:
  virtual ~PayloadTaker() = default;
  // Asked before a payload is read. False: there is no room for it, and it is not read.
  virtual bool Take(const LeavingPayload& payload) = 0;
  // It could not be read after all.
  virtual void Return(uint64_t generation) = 0;
  // It ends with this very delivery (AckMode AUTO): its end is no reason to drop it.
  virtual void ExpectEnd(uint64_t generation) = 0;
};

// RESOURCE_EXHAUSTED (OVERLOADED): a taker has no room.
absl::Status NoRoomError();

// Hears of payloads that have ended, whatever ended them: an ack, a delete, the sweep or a
// successor. The decision is made, and not answered yet. Thread-safe, and must be quick: the
// committer calls it.
class PayloadEndListener {
 public:
  virtual ~PayloadEndListener() = default;
  virtual void OnPayloadsEnded(absl::Span<const uint64_t> generations) = 0;
};

}  // namespace mayfly
