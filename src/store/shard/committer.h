// A Committer brings work to a Shard from many threads, and sees to it that one at a time decides.
//
// What comes while a group is being decided collects, and makes the next group. Requests that need
// no sync, as many as a message has, are committed inline, by the thread that submits them, while
// nobody else commits: that saves two switches of threads, and wakes the committer only for what
// waits.
//
//   Submit, Register ...   any thread     queue, or commit inline
//   Step                   the driver     one group with all that has collected, the erasures of the
//                                         group before, and the sync of both
//
// A group is not held up by the disk: while the driver syncs, inline groups are committed that
// leave the calls alone whose changes are not answered. A busy shard so pays one sync for a group,
// and answers removals with the next group's sync.
//
// The driver is one thread that calls Wait and Step in turns (commit_thread.h), or a test.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"

#include "base/mutex.h"
#include "store/context.h"
#include "store/shard/deferral.h"
#include "store/shard/shard.h"

namespace mayfly {

class Committer {
 public:
  // How much a thread commits inline at once: a message of a session. Of calls that are claimed it
  // takes fewer, because their outputs are read and opened on the same thread afterwards.
  static constexpr size_t kInlineRequestsMax = 256;
  static constexpr uint64_t kInlineBytesMax = 512 << 10;
  static constexpr size_t kInlineCallsMax = 32;

  // `usage` is what storage has recorded of this shard.
  Committer(uint32_t number, const StoreContext& context, Sweeper* sweeper, Uploads* uploads,
            const std::vector<TenantUsage>& usage);
  Committer(const Committer&) = delete;
  Committer& operator=(const Committer&) = delete;

  // Thread-safe.

  // The requests hold room in the queue (store/quota.h), which bounds it.
  void Submit(std::vector<Request> requests) EXCLUDES_LOCK(mutex_);
  // See Registration::Purpose for these four.
  void Register(std::shared_ptr<Claimant> claimant, std::vector<WantedCall> calls)
      EXCLUDES_LOCK(mutex_);
  void Unregister(std::shared_ptr<Claimant> claimant, std::vector<WantedCall> calls)
      EXCLUDES_LOCK(mutex_);
  void Release(std::shared_ptr<Claimant> claimant, std::vector<WantedCall> calls)
      EXCLUDES_LOCK(mutex_);
  void PassOn(std::shared_ptr<Claimant> claimant, std::shared_ptr<Claimant> successor)
      EXCLUDES_LOCK(mutex_);
  // Offers the calls once more to those that wait for them.
  void Recheck(std::vector<CallKey> calls) EXCLUDES_LOCK(mutex_);
  // Outputs are about to be sent to the holders of their claims: acks are checked against this.
  void NoteSent(std::vector<SentOutput> sent) EXCLUDES_LOCK(mutex_);
  // Runs `work` between two groups.
  void RunBetweenGroups(absl::AnyInvocable<void(Shard*)> work) EXCLUDES_LOCK(mutex_);
  // Stops every claimant that waits, and those that register later.
  void Drain() EXCLUDES_LOCK(mutex_);
  uint64_t queued_requests() EXCLUDES_LOCK(mutex_);

  // For the driver.

  // Returns when there is something to do, or false when Stop was called and all is done.
  bool Wait() EXCLUDES_LOCK(mutex_);
  // Decides, commits, syncs and answers what has collected.
  void Step() EXCLUDES_LOCK(mutex_);
  // From any thread: the driver is to finish.
  void Stop() EXCLUDES_LOCK(mutex_);
  // After the driver has finished: stops the claimants that still wait.
  void StopClaimants() { shard_.StopClaimants(absl::OkStatus()); }

 private:
  struct Queue {
    GroupWork work;
    absl::flat_hash_set<CallKey> rechecks;  // those of the work
    std::vector<absl::AnyInvocable<void(Shard*)>> between_groups;
    // Somebody waits for it. The rest is taken with the next group, or within a tick.
    bool is_urgent = false;

    bool empty() const { return !is_urgent && work.registrations.empty() && work.sent.empty(); }
  };

  Queue TakeQueue() REQUIRES_LOCK(mutex_);
  // After something was added to the queue: the driver is to take it now, or within a tick.
  void WakeDriver() REQUIRES_LOCK(mutex_);
  void LeaveToDriver() REQUIRES_LOCK(mutex_);

  // Whether this thread may commit its requests inline: nobody else commits, no sync will be
  // needed, and no change of the calls is unanswered. They may overtake queued requests, which are
  // not answered either.
  bool MayCommitInline() const REQUIRES_LOCK(mutex_);
  bool MayCommitInline(const std::vector<Request>& requests, uint64_t bytes) const
      REQUIRES_LOCK(mutex_);
  bool MayCommitInline(const std::vector<WantedCall>& calls) const REQUIRES_LOCK(mutex_);
  void CommitInline(GroupWork work) EXCLUDES_LOCK(mutex_);

  // For the driver, which waits until it alone commits.
  void StartCommitting() REQUIRES_LOCK(mutex_);
  void StopCommitting() EXCLUDES_LOCK(mutex_);
  // Returns the callbacks of what it has answered.
  std::vector<Deferral::Work> SyncAndReply(Unsynced unsynced) EXCLUDES_LOCK(mutex_);
  // Runs the callbacks here, or in parts on the workers when there are many or others wait.
  void CallBack(std::vector<Deferral::Work> callbacks, size_t item_count) EXCLUDES_LOCK(mutex_);

  const StoreContext& context_;

  Mutex mutex_;
  ConditionVariable changed_;
  Queue queue_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  bool committing_ GUARDED_BY(mutex_) = false;  // there is a committer
  bool driver_waits_to_commit_ GUARDED_BY(mutex_) = false;
  bool driver_sleeps_ GUARDED_BY(mutex_) = false;  // until it is woken, and not for a tick
  // What the last group left for the next one.
  bool has_rest_ GUARDED_BY(mutex_) = false;
  bool has_timers_ GUARDED_BY(mutex_) = false;

  // Whoever commits changes it under the mutex and reads it without; others read it with the mutex.
  UnansweredCalls unanswered_;
  Shard shard_;  // of whoever commits
};

}  // namespace mayfly
