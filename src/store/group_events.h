// Group events tell what the shards have done to calls: for usage, and for whatever else has to know
// without being asked.
//
// An event is told when what it tells of is durable and before it is answered: stored after the sync of
// the rows, acknowledged and deleted after that of the overwritten secrets. With relaxed durability a
// stored event may outlive its put, as the answer may. Claims are in memory and told with their group.
// Events of one call come in the order in which they were decided. After a failed write nothing is told.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"

#include "call/state.h"
#include "store/tenant.h"

namespace mayfly {

struct GroupEvent {
  enum class Kind : uint8_t {
    kNone,          // nothing to tell
    kStored,        // by a put; an output may have replaced another
    kClaimed,       // under a new claim
    kAcknowledged,  // erased
    kDeleted,       // erased
    kExpired,       // a payload is erased, and the call has ended if it was its last
    kRefused,       // see status
    kCleared,       // rows left that a crash had orphaned
  };
  Kind kind = Kind::kNone;
  Tenant* tenant = nullptr;
  CallKey key;
  RowCount change;      // of the tenant's rows
  absl::Status status;  // kRefused: the answer
};

class GroupObserver {
 public:
  virtual ~GroupObserver() = default;
  // Runs on the thread that commits, so it must neither block nor call the store.
  virtual void OnGroupEvents(uint32_t shard, absl::Span<const GroupEvent> events) = 0;
};

// Keeps the tenants' live calls and bytes.
class UsageObserver final : public GroupObserver {
 public:
  void OnGroupEvents(uint32_t, absl::Span<const GroupEvent> events) override {
    for (const GroupEvent& event : events) {
      if (!event.change.empty()) event.tenant->ledger.AddLive(event.change);
    }
  }
};

}  // namespace mayfly
