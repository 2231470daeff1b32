// A Shard has one committer at a time, and all that it alone may touch: the claims, who
// waits for outputs, and the timer wheel of the calls whose ids hash to it.
//
// The committer is the shard's own thread, or, for a few requests that need no sync while nobody
// else commits, the thread that brings them: that saves two switches of threads, which cost more
// than the rest of such a group. Requests that come meanwhile collect, and are taken as one group:
//
//   take -> load -> apply in order -> commit -> erase what the last group removed
//        -> sync -> answer the last group's removals and this group's puts
//
// What only reads is answered before the commit. A removal is answered when the secrets are
// overwritten and synced, which is the next group's sync, or one of its own when nothing waits: so
// a busy shard pays one sync per group. Where a secret may be overwritten before the decision is on
// the disk (expiry, and all ends with relaxed durability), group and erasure share a sync. What an unanswered change has made of a call is answered
// with that change, not before, and nobody is offered such a call until then.
//
// There are no locks around the rules: everything but the queue is the committer's own.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/container/inlined_vector.h"
#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"

#include "base/mutex.h"
#include "base/thread_pool.h"
#include "call/apply.h"
#include "retention/sweeper.h"
#include "retention/timer_wheel.h"
#include "storage/storage.h"
#include "store/batch.h"
#include "store/claimant.h"
#include "store/deferral.h"
#include "store/id_window.h"
#include "store/leaving_payload.h"
#include "store/payload_cipher.h"
#include "store/tenant.h"
#include "store/time_source.h"
#include "store/uploads.h"

namespace mayfly {

// What all shards share. Everything pointed to outlives them.
struct ShardContext {
  Storage* storage = nullptr;
  const PayloadCipher* cipher = nullptr;
  TimeSource* time = nullptr;
  Tenants* tenants = nullptr;
  Sweeper* sweeper = nullptr;
  Uploads* uploads = nullptr;
  bool sync_puts = true;  // durability = "sync"
  IdWindow id_window;
  int64_t lease_total_max_ms = 0;
  std::atomic<uint64_t>* fence_counter = nullptr;
  std::atomic<bool>* unsynced_rows = nullptr;  // set after a commit that was not synced
  PayloadEndListener* payload_ends = nullptr;  // may be null
  absl::AnyInvocable<void(const absl::Status&)>* on_fatal = nullptr;
  ThreadPool* workers = nullptr;  // run what large groups call back into
};

// An output on its way to the holder of a claim.
struct SentOutput {
  CallKey key;
  uint64_t fence = 0;
  uint32_t crc32c = 0;  // of its data
};

class Shard {
 public:
  // How much may wait in the queue; beyond it requests are refused as OVERLOADED.
  static constexpr uint64_t kQueuedRequestsMax = 64 << 10;
  static constexpr uint64_t kQueuedBytesMax = 256 << 20;
  // How much a thread that is not the shard's own commits at once.
  static constexpr size_t kBroughtItemsMax = 32;
  static constexpr uint64_t kBroughtBytesMax = 128 << 10;

  // `usage` is what this shard has accounted for so far.
  Shard(uint32_t number, ShardContext context, const std::vector<TenantUsage>& usage);
  // Finishes what is queued, then joins.
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  // Thread-safe.
  void Submit(std::vector<Request> requests) EXCLUDES_LOCK(mutex_);
  // Offers the calls to the claimant, once and then whenever something becomes of them.
  void Visit(std::shared_ptr<Claimant> claimant, std::vector<WantedCall> calls)
      EXCLUDES_LOCK(mutex_);
  // Offers these of the calls that are waited for once more.
  void Offer(std::vector<CallKey> calls) EXCLUDES_LOCK(mutex_);
  // The claimant waits no longer for these.
  void Forget(std::shared_ptr<Claimant> claimant, std::vector<WantedCall> calls)
      EXCLUDES_LOCK(mutex_);
  // The same, and releases all claims that are its own; then it is told so. It wants no calls any
  // more.
  void Release(std::shared_ptr<Claimant> claimant, std::vector<WantedCall> calls)
      EXCLUDES_LOCK(mutex_);
  // Outputs are about to be sent to who claimed them: their acks are checked against this.
  void NoteSent(std::vector<SentOutput> sent) EXCLUDES_LOCK(mutex_);
  // Runs on the shard's thread, between two groups.
  void RunBetweenGroups(absl::AnyInvocable<void()> work) EXCLUDES_LOCK(mutex_);
  // Removes what a crash left of this shard's calls. For what RunBetweenGroups runs.
  absl::Status RemoveOrphans(const Orphans& orphans);
  // Stops every claimant that waits, and from now on none does.
  void Drain() EXCLUDES_LOCK(mutex_);
  uint64_t queued_requests() EXCLUDES_LOCK(mutex_);

 private:
  // When the result of an operation may be told: at once, after this group's sync, or after the
  // sync that follows the erasure.
  enum class Stage { kNow, kCommitted, kErased };

  struct ClaimantVisit {
    enum class Purpose { kOffer, kForget, kRelease };
    std::shared_ptr<Claimant> claimant;
    std::vector<WantedCall> calls;
    Purpose purpose = Purpose::kOffer;
  };
  struct Queue {
    std::vector<Request> requests;
    std::vector<ClaimantVisit> visits;
    std::vector<CallKey> offers;
    absl::flat_hash_set<CallKey> offered;  // the same
    std::vector<SentOutput> sent;
    std::vector<absl::AnyInvocable<void()>> work;
    uint64_t bytes = 0;
    bool drain = false;
  };
  // A call as the current group has it so far.
  struct Entry {
    LoadedCall loaded;
    CallState state;
    // Dead rows that are still there: usage counts them until they leave.
    std::optional<StoredPayload> dead_input;
    std::optional<StoredPayload> dead_output;
    Stage stage = Stage::kNow;  // of the last change to it that is not answered yet
  };
  struct Answer {
    Request request;
    OperationResult result;
  };
  // What a CallChange points to.
  struct Recorded {
    Effects effects;
    StoredPayload payload;
    std::vector<EndedUpload> ended_uploads;
  };
  struct Group {
    Now now;
    absl::flat_hash_map<CallKey, std::unique_ptr<Entry>> entries;
    std::vector<std::unique_ptr<Recorded>> recorded;
    std::vector<CallChange> changes;
    std::vector<SlotRef> removed_first;  // slots to erase with the group
    std::vector<SlotRef> removed;        // slots to erase once the group is durable
    bool must_sync = false;              // the group's rows, not its erasures alone
    std::vector<CallKey> removed_calls;
    std::vector<DuePayload> stored;
    // By generation: what a later put of the same group is compared with.
    absl::flat_hash_map<uint64_t, const PutContent*> contents;
    std::vector<Answer> committed;
    std::vector<Answer> erased;
  };
  // The removals of the last group: durable, but their secrets are not overwritten yet.
  struct Erasure {
    std::vector<SlotRef> slots;
    std::vector<CallKey> calls;
    std::vector<Answer> answers;
    bool empty() const { return slots.empty() && answers.empty(); }
  };
  struct ClaimRecord {
    Claim claim;
    Tenant* tenant = nullptr;
    std::optional<TimerWheel::Handle> timer;
    const Claimant* holder = nullptr;  // whose own it is, if anybody's; not to be followed
  };
  struct Waiter {
    std::shared_ptr<Claimant> claimant;
    uint32_t index = 0;
  };
  struct ClaimantTimer {
    uint64_t number = 0;
    TimerWheel::Handle handle;
  };
  // Most calls are waited for by one.
  using Waiters = absl::InlinedVector<Waiter, 1>;
  class GroupComparer;

  // What a group has written and the disk does not have for certain.
  struct Unsynced {
    bool rows = false;
    bool erasures = false;
    std::vector<Answer> answers;  // that wait for the sync
    std::vector<CallKey> calls;   // with changes that are not answered
    bool empty() const { return !rows && !erasures; }
  };
  // Whether a group takes the last one's erasure along, which then has to be synced.
  enum class Erases { kNo, kYes };

  // How long who was refused for lack of room is to wait.
  static constexpr absl::Duration kRetryDelay = absl::Seconds(1);
  static void RefuseAll(std::vector<Request> requests, const absl::Status& status);

  void Run() EXCLUDES_LOCK(mutex_);
  Queue TakeQueue() REQUIRES_LOCK(mutex_);
  bool HasWork() const REQUIRES_LOCK(mutex_);
  bool QueueIsEmpty() EXCLUDES_LOCK(mutex_);
  // After the queue was added to.
  void WakeThread() REQUIRES_LOCK(mutex_);

  // Whether the caller may be the committer of what it brings: nobody else is, no sync will be
  // needed (that is left to the shard's thread, since the others have connections to serve), and
  // no change of its calls is unanswered.
  bool MayCommitHere() const REQUIRES_LOCK(mutex_);
  bool MayCommitHere(const std::vector<Request>& requests, uint64_t bytes) const
      REQUIRES_LOCK(mutex_);
  bool MayCommitHere(const std::vector<WantedCall>& calls) const REQUIRES_LOCK(mutex_);
  void CommitHere(Queue brought) EXCLUDES_LOCK(mutex_);
  // For the shard's thread.
  void StartCommitting() REQUIRES_LOCK(mutex_);
  void StopCommitting() EXCLUDES_LOCK(mutex_);
  // Syncs, then answers. The committer before and after, but not while it waits.
  void Settle(Unsynced unsynced) EXCLUDES_LOCK(mutex_);
  // Runs them here, or in parts on the workers when there are many or others wait.
  void CallBack(std::vector<Deferral::Work> callbacks, size_t item_count) EXCLUDES_LOCK(mutex_);

  // The following are for the committer.

  bool IsAnswered(const CallKey& key) const;
  Unsynced RunGroup(Queue queue, Erases erases);
  absl::Status LoadEntries(absl::Span<const CallKey> keys, Group* group);
  void ApplyRequest(Request request, Group* group);
  // For a call whose rows cannot be read.
  static void RefuseUnreadable(Request request, const absl::Status& status, Group* group);
  absl::Status CheckRoom(const Request& request, PayloadKind kind) const;
  void RecordChange(const Request& request, const Effects& effects, Entry* entry, Group* group);
  // Writes the group, and the erasure of the one before.
  absl::Status CommitGroup(Group* group, Erases erases, Unsynced* unsynced);
  void ReportEnds(const Group& group) const;
  std::vector<TenantUsage> TakeChangedUsage();
  // What of a call's rows usage counts.
  struct Counted {
    int64_t calls = 0;
    int64_t bytes = 0;
  };
  static Counted CountRows(const Entry& entry);
  void Account(Tenant* tenant, const Counted& before, const Counted& after);
  ApplyContext ContextFor(const Tenant& tenant, const Now& now) const;
  // After this nothing is written any more, and everything is answered STORAGE_DOWN.
  void Fail(const absl::Status& status, std::vector<Answer> answers);

  // Claims.
  void UpdateClaim(const CallKey& key, Tenant* tenant, const std::optional<Claim>& before,
                   const std::optional<Claim>& after, bool claimable_again);
  void ScheduleLapse(ClaimRecord* record, int64_t now_ms);
  void AdvanceWheel(const Now& now);

  void SetHolder(const CallKey& key, const Claimant* holder);
  void ForgetHolder(const ClaimRecord& record);
  void ReleaseClaimsOf(const Claimant* holder, Group* group);

  // Claimants.
  void VisitAll(std::vector<ClaimantVisit> visits, Group* group);
  void TakeLeave(const ClaimantVisit& visit, Group* group);
  void OfferVisit(const ClaimantVisit& visit, Group* group);
  bool ClaimFor(Claimant* claimant, const WantedCall& call, Group* group, bool* wants_timer);
  // A claimant has one timer at a time: a new one takes the place of the one before.
  void StartTimer(const std::shared_ptr<Claimant>& claimant, int64_t due_ms);
  void CancelTimer(const Claimant* claimant);
  void TimerDue(uint64_t timer, int64_t now_ms);
  void RemoveWaiters(const ClaimantVisit& visit);
  void WakeWaiters(const CallKey& key);
  void ServeWaiters(Group* group);
  void StopClaimants(const absl::Status& failure);
  void StopToWake(const absl::Status& failure);

  const uint32_t number_;
  const ShardContext context_;

  Mutex mutex_;
  ConditionVariable changed_;
  Queue queue_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  bool committing_ GUARDED_BY(mutex_) = false;  // there is a committer
  bool thread_waits_to_commit_ GUARDED_BY(mutex_) = false;
  // What the last group left for the next one.
  bool has_rest_ GUARDED_BY(mutex_) = false;
  bool has_timers_ GUARDED_BY(mutex_) = false;

  // Calls with changes that are not answered: those of erasure_, and those whose sync is under way.
  // The committer changes them under the mutex; it reads them without, everybody else with it.
  absl::flat_hash_set<CallKey> erasing_;
  absl::flat_hash_set<CallKey> syncing_;

  // The committer's own.
  TimerWheel wheel_;  // on elapsed time
  Erasure erasure_;
  absl::flat_hash_map<CallKey, ClaimRecord> claims_;
  absl::flat_hash_map<uint64_t, CallKey> claim_by_fence_;
  absl::flat_hash_map<const Claimant*, absl::flat_hash_set<uint64_t>> fences_by_holder_;
  absl::flat_hash_map<CallKey, Waiters> waiters_;
  absl::flat_hash_map<uint64_t, std::weak_ptr<Claimant>> claimant_by_timer_;
  absl::flat_hash_map<const Claimant*, ClaimantTimer> timer_by_claimant_;  // not to be followed
  uint64_t last_timer_ = 0;
  std::vector<CallKey> to_wake_;
  std::vector<ClaimantVisit> delayed_visits_;
  absl::flat_hash_map<TenantNumber, TenantUsage> usage_;
  absl::flat_hash_set<TenantNumber> changed_usage_;  // since the last commit
  absl::Status failure_;
  bool draining_ = false;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace mayfly
