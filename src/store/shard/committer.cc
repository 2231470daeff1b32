#include "store/shard/committer.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "store/shard/durability.h"

namespace mayfly {
namespace {

// How often an idle driver looks at the timers: the wheel's own granularity.
constexpr absl::Duration kTick = absl::Milliseconds(100);
// A driver without timers ticks on for 10 s. So a caller with one claim after another, whose lease
// is a timer each, does not wake it each time.
constexpr int kIdleTicksMax = 100;
// A group's size bounds how long a request waits for its neighbours.
constexpr size_t kGroupRequestsMax = 4096;
// A callback may submit requests inline, whose callbacks may submit more.
constexpr int kInlineDepthMax = 8;
// How many callbacks the driver runs itself, and of how many items, when nothing waits.
constexpr size_t kCallbacksHereMax = 2;
constexpr size_t kItemsHereMax = 32;
// How many items that nobody waits for are left for the next tick.
constexpr size_t kPostponedItemsMax = 64;

// How many groups this thread is committing inline, one within the callback of another.
thread_local int inline_depth = 0;

uint64_t BytesOf(const std::vector<Request>& requests) {
  uint64_t bytes = 0;
  for (const Request& request : requests) {
    if (request.content != nullptr) bytes += request.content->row.size();
  }
  return bytes;
}

}  // namespace

Committer::Committer(uint32_t number, const StoreContext& context, Sweeper* sweeper,
                     Uploads* uploads, const std::vector<TenantUsage>& usage)
    : context_(context), shard_(number, context, sweeper, uploads, &unanswered_, usage) {}

// ---- Any thread

void Committer::Submit(std::vector<Request> requests) {
  const uint64_t bytes = BytesOf(requests);
  {
    MutexLock lock(&mutex_);
    if (!MayCommitInline(requests, bytes)) {
      std::vector<Request>& queued = queue_.work.requests;
      std::move(requests.begin(), requests.end(), std::back_inserter(queued));
      return WakeDriver();
    }
    committing_ = true;
  }
  GroupWork work;
  work.requests = std::move(requests);
  CommitInline(std::move(work));
}

void Committer::Register(std::shared_ptr<Claimant> claimant, std::vector<WantedCall> calls) {
  GroupWork work;
  {
    MutexLock lock(&mutex_);
    const bool commits_inline = MayCommitInline(calls);
    GroupWork& group_work = commits_inline ? work : queue_.work;
    group_work.registrations.push_back(
        {.claimant = std::move(claimant), .calls = std::move(calls)});
    if (!commits_inline) return WakeDriver();
    committing_ = true;
  }
  CommitInline(std::move(work));
}

void Committer::Unregister(std::shared_ptr<Claimant> claimant, std::vector<WantedCall> calls) {
  MutexLock lock(&mutex_);
  queue_.work.registrations.push_back({.claimant = std::move(claimant),
                                       .calls = std::move(calls),
                                       .purpose = Registration::Purpose::kUnregister});
  LeaveToDriver();
}

void Committer::Release(std::shared_ptr<Claimant> claimant, std::vector<WantedCall> calls) {
  MutexLock lock(&mutex_);
  queue_.work.registrations.push_back({.claimant = std::move(claimant),
                                       .calls = std::move(calls),
                                       .purpose = Registration::Purpose::kRelease});
  WakeDriver();
}

// Before whatever comes later: an end of the successor finds the claims.
void Committer::PassOn(std::shared_ptr<Claimant> claimant, std::shared_ptr<Claimant> successor) {
  MutexLock lock(&mutex_);
  queue_.work.registrations.push_back({.claimant = std::move(claimant),
                                       .calls = {},
                                       .purpose = Registration::Purpose::kPassOn,
                                       .successor = std::move(successor)});
  LeaveToDriver();
}

void Committer::Recheck(std::vector<CallKey> calls) {
  MutexLock lock(&mutex_);
  // A client that grants credit a bit at a time has the same calls offered again and again.
  for (const CallKey& call : calls) {
    if (queue_.rechecks.insert(call).second) queue_.work.rechecks.push_back(call);
  }
  WakeDriver();
}

void Committer::NoteSent(std::vector<SentOutput> sent) {
  // In time for the ack, which comes in a later group.
  MutexLock lock(&mutex_);
  std::move(sent.begin(), sent.end(), std::back_inserter(queue_.work.sent));
  LeaveToDriver();
}

void Committer::RunBetweenGroups(absl::AnyInvocable<void(Shard*)> work) {
  MutexLock lock(&mutex_);
  queue_.between_groups.push_back(std::move(work));
  WakeDriver();
}

void Committer::Drain() {
  MutexLock lock(&mutex_);
  queue_.work.drain = true;
  WakeDriver();
}

uint64_t Committer::queued_requests() {
  MutexLock lock(&mutex_);
  return queue_.work.requests.size();
}

// ---- The queue

Committer::Queue Committer::TakeQueue() {
  Queue taken;
  std::swap(taken, queue_);
  std::vector<Request>& requests = taken.work.requests;
  if (requests.size() <= kGroupRequestsMax) return taken;
  const auto rest = requests.begin() + kGroupRequestsMax;
  std::move(rest, requests.end(), std::back_inserter(queue_.work.requests));
  requests.erase(rest, requests.end());
  queue_.is_urgent = true;
  return taken;
}

void Committer::WakeDriver() {
  queue_.is_urgent = true;
  // Whoever commits looks at the queue again before it stops.
  if (!committing_) changed_.NotifyOne();
}

// Nobody waits for it, and waking a thread costs more than the work: a driver that sleeps is woken
// once, to come by within a tick from then on.
void Committer::LeaveToDriver() {
  if (queue_.work.registrations.size() + queue_.work.sent.size() >= kPostponedItemsMax) {
    return WakeDriver();
  }
  if (std::exchange(driver_sleeps_, false)) changed_.NotifyOne();
}

// ---- Inline commits

bool Committer::MayCommitInline() const {
  // The driver, with its acks, must not wait for ever.
  return !committing_ && !driver_waits_to_commit_ && !stopping_ && inline_depth < kInlineDepthMax;
}

bool Committer::MayCommitInline(const std::vector<Request>& requests, uint64_t bytes) const {
  const bool syncs_puts = context_.syncs_puts();
  return MayCommitInline() && requests.size() <= kInlineRequestsMax && bytes <= kInlineBytesMax &&
         std::all_of(requests.begin(), requests.end(), [&](const Request& request) {
           return !MaySync(request.operation, syncs_puts) && !unanswered_.contains(request.key);
         });
}

bool Committer::MayCommitInline(const std::vector<WantedCall>& calls) const {
  return MayCommitInline() && calls.size() <= kInlineCallsMax &&
         std::all_of(calls.begin(), calls.end(),
                     [this](const WantedCall& call) { return !unanswered_.contains(call.key); });
}

void Committer::CommitInline(GroupWork work) {
  std::vector<Deferral::Work> callbacks;
  {
    Deferral deferral;
    const Unsynced unsynced = shard_.RunGroup(std::move(work), Erases::kNo);
    Check(unsynced.empty(), "an inline group needs no sync");
    callbacks = deferral.Take();
  }
  StopCommitting();
  ++inline_depth;
  for (Deferral::Work& callback : callbacks) callback();
  --inline_depth;
}

// ---- The driver

bool Committer::Wait() {
  MutexLock lock(&mutex_);
  int idle_ticks = 0;
  while (true) {
    if (queue_.is_urgent || has_rest_) return true;
    if (stopping_ && !committing_) return !queue_.empty();
    driver_sleeps_ = !has_timers_ && queue_.empty() && idle_ticks >= kIdleTicksMax;
    if (driver_sleeps_) {
      changed_.Wait(&mutex_);
      driver_sleeps_ = false;
      idle_ticks = 0;
    } else if (!changed_.WaitFor(&mutex_, kTick)) {
      if (has_timers_ || !queue_.empty()) return true;
      ++idle_ticks;
    }
  }
}

void Committer::Stop() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  changed_.NotifyOne();
}

void Committer::Step() {
  Queue queue;
  {
    MutexLock lock(&mutex_);
    StartCommitting();
    queue = TakeQueue();
  }
  const size_t item_count = queue.work.requests.size() + queue.work.registrations.size();
  std::vector<Deferral::Work> callbacks;
  Unsynced unsynced;
  {
    Deferral deferral;
    for (auto& work : queue.between_groups) work(&shard_);
    unsynced = shard_.RunGroup(std::move(queue.work), Erases::kYes);
    callbacks = deferral.Take();
  }
  {
    MutexLock lock(&mutex_);
    unanswered_.erasing.clear();
    unanswered_.erasing.insert(shard_.erasure().calls.begin(), shard_.erasure().calls.end());
  }
  if (!unsynced.empty()) {
    CallBack(std::move(callbacks), item_count);
    callbacks = SyncAndReply(std::move(unsynced));
  }
  StopCommitting();
  CallBack(std::move(callbacks), item_count);
}

void Committer::StartCommitting() {
  driver_waits_to_commit_ = true;
  while (committing_) changed_.Wait(&mutex_);
  driver_waits_to_commit_ = false;
  committing_ = true;
}

void Committer::StopCommitting() {
  MutexLock lock(&mutex_);
  committing_ = false;
  has_rest_ = shard_.has_rest();
  has_timers_ = shard_.has_timers();
  if (queue_.is_urgent || has_rest_ || stopping_ || driver_waits_to_commit_ ||
      (has_timers_ && std::exchange(driver_sleeps_, false))) {
    changed_.NotifyOne();
  }
}

// Does not commit while it waits for the disk: inline commits may go ahead meanwhile.
std::vector<Deferral::Work> Committer::SyncAndReply(Unsynced unsynced) {
  {
    MutexLock lock(&mutex_);
    unanswered_.syncing.insert(unsynced.calls.begin(), unsynced.calls.end());
  }
  StopCommitting();
  const absl::Status status =
      unsynced.rows ? context_.storage.Sync() : context_.storage.SyncErasures();
  {
    MutexLock lock(&mutex_);
    StartCommitting();
    unanswered_.syncing.clear();
  }
  Deferral deferral;
  if (!status.ok()) {
    shard_.Fail(status, std::move(unsynced.answers));
  } else {
    shard_.Give(std::move(unsynced.answers));
  }
  return deferral.Take();
}

void Committer::CallBack(std::vector<Deferral::Work> callbacks, size_t item_count) {
  if (callbacks.empty()) return;
  bool is_idle = false;
  {
    MutexLock lock(&mutex_);
    is_idle = !queue_.is_urgent;
  }
  if (callbacks.size() <= kCallbacksHereMax && item_count <= kItemsHereMax && is_idle) {
    for (Deferral::Work& callback : callbacks) callback();
    return;
  }
  const size_t part_size = (callbacks.size() - 1) / context_.workers.thread_count() + 1;
  for (size_t first = 0; first < callbacks.size(); first += part_size) {
    const auto begin = callbacks.begin() + first;
    const auto end = begin + std::min(part_size, callbacks.size() - first);
    std::vector<Deferral::Work> part(std::make_move_iterator(begin), std::make_move_iterator(end));
    context_.workers.Run([part = std::move(part)]() mutable {
      for (Deferral::Work& callback : part) callback();
    });
  }
}

}  // namespace mayfly
