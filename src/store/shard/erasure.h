// The second phase of an ack, a delete or a replacement: secrets are overwritten once the decision
// that kills them is durable, and only then is the request answered.
#pragma once

#include <utility>
#include <vector>

#include "keys/slot_file.h"
#include "store/shard/request.h"

namespace mayfly {

// What a group has removed. Durable, but the secrets are still there: they are overwritten with the
// next group, or in a group of their own.
struct PendingErasure {
  std::vector<SlotRef> slots;
  std::vector<CallKey> calls;   // whose removal is not answered yet
  std::vector<Answer> answers;  // to be given when the slots are overwritten and synced

  bool empty() const { return slots.empty() && answers.empty(); }
};

}  // namespace mayfly
