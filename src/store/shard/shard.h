// A Shard is what one committer at a time decides about: the calls whose ids fall to it, their
// claims, and the claimants that wait for them.
//
// RunGroup takes what has collected and makes one group of it:
//
//   what was sent, timers -> load -> serve the waiters of changed calls -> decide requests
//        -> registrations -> commit
//
// No locks and no threads: the committer calls it, one call after another. Callbacks of requests
// and claimants run within it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/types/span.h"

#include "retention/sweeper.h"
#include "storage/storage.h"
#include "store/context.h"
#include "store/group_events.h"
#include "store/shard/claim_table.h"
#include "store/shard/claimant.h"
#include "store/shard/erasure.h"
#include "store/shard/group.h"
#include "store/shard/request.h"
#include "store/shard/usage.h"
#include "store/shard/wait_list.h"

namespace mayfly {

class Uploads;

// How long a claimant that ran into the limit of claims waits before the shard looks again.
inline constexpr int64_t kQuotaRecheckMs = 1000;

// A claimant comes for calls, or leaves them.
struct Registration {
  enum class Purpose {
    kRegister,    // offers it the calls, once and then whenever something becomes of them
    kUnregister,  // it waits no longer for these
    kRelease,     // the same, and releases the claims that are its own
    kPassOn,  // its claims are the successor's from now on, or nobody's: they last for their leases
  };
  std::shared_ptr<Claimant> claimant;
  std::vector<WantedCall> calls;
  Purpose purpose = Purpose::kRegister;
  std::shared_ptr<Claimant> successor = nullptr;
};

// What has collected for the next group.
struct GroupWork {
  std::vector<Request> requests;
  std::vector<Registration> registrations;
  std::vector<CallKey> rechecks;  // calls to offer once more to those that wait for them
  std::vector<SentOutput> sent;
  bool drain = false;
};

// Calls with changes that are not answered: those whose secrets are still to be overwritten, and
// those whose sync is in flight.
struct UnansweredCalls {
  absl::flat_hash_set<CallKey> erasing;
  absl::flat_hash_set<CallKey> syncing;

  bool contains(const CallKey& key) const { return syncing.contains(key) || erasing.contains(key); }
};

class Shard {
 public:
  // `usage` is what storage has recorded of this shard. `unanswered` outlives it and changes
  // between groups only.
  Shard(uint32_t number, const StoreContext& context, Sweeper* sweeper, Uploads* uploads,
        const UnansweredCalls* unanswered, const std::vector<TenantUsage>& usage);

  // After an error of storage the shard is dropped: everything is answered STORAGE_DOWN, nothing is
  // left to sync, and nothing is decided any more.
  Unsynced RunGroup(GroupWork work, Erases erases);
  // The sync of an earlier group has failed: so has the shard.
  void Fail(const absl::Status& status, std::vector<Answer> answers);
  // What was decided is on the disk: tells the observers, and gives the answers.
  void Give(std::vector<Answer> answers);
  // Removes what a crash left of this shard's calls. Leaves rows alone whose secret was erased: the
  // rules end their calls.
  absl::Status RemoveOrphans(Orphans orphans);
  // Stops the claimants that wait.
  void StopClaimants(const absl::Status& failure);

  const PendingErasure& erasure() const { return erasure_; }
  // Whether the last group left something for the next one.
  bool has_rest() const {
    return !delayed_.empty() || !waits_.woken().empty() || !erasure_.empty();
  }
  // Whether a timer may come due.
  bool has_timers() const { return claims_.has_timers() || waits_.has_timers(); }

 private:
  friend class Group;
  friend class Offers;

  void Tell(absl::Span<const GroupEvent> events);
  bool is_observed() const { return !context_.observers.empty(); }
  void AdvanceTimers(const Now& now);
  // The calls that the group looks at.
  std::vector<CallKey> KeysOf(const GroupWork& work) const;
  // Nothing of the work was written.
  void RefuseWork(GroupWork work);
  // Stops the claimants whose calls have changed and cannot be looked at: they would not be offered
  // them again.
  void StopWoken(const absl::Status& failure);

  const uint32_t number_;
  const StoreContext& context_;
  Sweeper* const sweeper_;
  Uploads* const uploads_;
  const UnansweredCalls& unanswered_;

  ClaimTable claims_;
  WaitList waits_;
  ShardUsage usage_;
  PendingErasure erasure_;
  std::vector<Registration> delayed_;  // their calls have changes that are not answered
  absl::Status failure_;
  bool draining_ = false;
};

}  // namespace mayfly
