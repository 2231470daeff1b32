#include "store/shard.h"

#include <algorithm>
#include <pthread.h>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/check.h"
#include "base/error.h"
#include "store/durability.h"

namespace mayfly {
namespace {

// How often an idle thread looks at its wheel: the wheel's own granularity.
constexpr absl::Duration kTick = absl::Milliseconds(100);
// A group's size bounds how long a request waits for its neighbours.
constexpr size_t kGroupRequestsMax = 4096;
// A callback may bring new requests, whose callbacks may bring more.
constexpr int kBroughtDepthMax = 8;
// What the shard's thread calls back itself, when nothing waits.
constexpr size_t kCallbacksHereMax = 2;

// How many groups this thread is committing for its own requests, one within the callback of
// another.
thread_local int brought_depth = 0;

uint64_t BytesOf(const std::vector<Request>& requests) {
  uint64_t bytes = 0;
  for (const Request& request : requests) {
    if (request.content != nullptr) bytes += request.content->row.size();
  }
  return bytes;
}

}  // namespace

Shard::Shard(uint32_t number, ShardContext context, const std::vector<TenantUsage>& usage)
    : number_(number), context_(context), wheel_({.start_ms = context.time->Read().elapsed_ms}) {
  for (const TenantUsage& used : usage) usage_[used.tenant] = used;
  thread_ = std::thread([this] { Run(); });
  pthread_setname_np(thread_.native_handle(), absl::StrCat("commit-", number).c_str());
}

Shard::~Shard() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  changed_.NotifyOne();
  thread_.join();
}

void Shard::Submit(std::vector<Request> requests) {
  const uint64_t bytes = BytesOf(requests);
  bool commits_here = false;
  {
    MutexLock lock(&mutex_);
    commits_here = MayCommitHere(requests, bytes);
    const bool is_full = queue_.requests.size() + requests.size() > kQueuedRequestsMax ||
                         queue_.bytes + bytes > kQueuedBytesMax;
    if (commits_here) {
      committing_ = true;
    } else if (!is_full || queue_.requests.empty()) {
      queue_.bytes += bytes;
      std::move(requests.begin(), requests.end(), std::back_inserter(queue_.requests));
      requests.clear();
      WakeThread();
    }
  }
  if (requests.empty()) return;
  if (commits_here) {
    Queue brought;
    brought.requests = std::move(requests);
    return CommitHere(std::move(brought));
  }
  RefuseAll(std::move(requests),
            WithRetryDelay(MakeError(absl::StatusCode::kResourceExhausted, Reason::kOverloaded,
                                     "the server has more work queued than it will hold"),
                           kRetryDelay));
}

void Shard::Visit(std::shared_ptr<Claimant> claimant, std::vector<WantedCall> calls) {
  Queue brought;
  {
    MutexLock lock(&mutex_);
    const bool commits_here = MayCommitHere(calls);
    committing_ |= commits_here;
    std::vector<ClaimantVisit>& visits = commits_here ? brought.visits : queue_.visits;
    visits.push_back(ClaimantVisit{.claimant = std::move(claimant), .calls = std::move(calls)});
    if (!commits_here) WakeThread();
  }
  if (!brought.visits.empty()) CommitHere(std::move(brought));
}

void Shard::Offer(std::vector<CallKey> calls) {
  MutexLock lock(&mutex_);
  // Whoever is granted credit a bit at a time offers the same calls again and again.
  for (const CallKey& call : calls) {
    if (queue_.offered.insert(call).second) queue_.offers.push_back(call);
  }
  WakeThread();
}

void Shard::Forget(std::shared_ptr<Claimant> claimant, std::vector<WantedCall> calls) {
  // Nobody waits for this, so it may wait for the next group.
  MutexLock lock(&mutex_);
  queue_.visits.push_back(ClaimantVisit{.claimant = std::move(claimant),
                                        .calls = std::move(calls),
                                        .purpose = ClaimantVisit::Purpose::kForget});
}

void Shard::Release(std::shared_ptr<Claimant> claimant, std::vector<WantedCall> calls) {
  MutexLock lock(&mutex_);
  queue_.visits.push_back(ClaimantVisit{.claimant = std::move(claimant),
                                        .calls = std::move(calls),
                                        .purpose = ClaimantVisit::Purpose::kRelease});
  WakeThread();
}

void Shard::NoteSent(std::vector<SentOutput> sent) {
  // In time for the ack, which comes in a later group; nobody waits for this.
  MutexLock lock(&mutex_);
  std::move(sent.begin(), sent.end(), std::back_inserter(queue_.sent));
}

void Shard::RunBetweenGroups(absl::AnyInvocable<void()> work) {
  MutexLock lock(&mutex_);
  queue_.work.push_back(std::move(work));
  WakeThread();
}

void Shard::Drain() {
  MutexLock lock(&mutex_);
  queue_.drain = true;
  WakeThread();
}

uint64_t Shard::queued_requests() {
  MutexLock lock(&mutex_);
  return queue_.requests.size();
}

bool Shard::QueueIsEmpty() {
  MutexLock lock(&mutex_);
  return !HasWork();
}

bool Shard::HasWork() const {
  return !queue_.requests.empty() || !queue_.visits.empty() || !queue_.offers.empty() ||
         !queue_.work.empty() || queue_.drain;
}

void Shard::RefuseAll(std::vector<Request> requests, const absl::Status& status) {
  for (Request& request : requests) {
    OperationResult result;
    result.status = status;
    request.Complete(std::move(result));
  }
}

Shard::Queue Shard::TakeQueue() {
  Queue taken;
  std::swap(taken, queue_);
  if (taken.requests.size() <= kGroupRequestsMax) return taken;
  const auto rest = taken.requests.begin() + kGroupRequestsMax;
  std::move(rest, taken.requests.end(), std::back_inserter(queue_.requests));
  taken.requests.erase(rest, taken.requests.end());
  queue_.bytes = BytesOf(queue_.requests);
  return taken;
}

bool Shard::MayCommitHere() const {
  // The shard's thread, with its acks, must not wait for ever.
  return !committing_ && !thread_waits_to_commit_ && !stopping_ && brought_depth < kBroughtDepthMax;
}

bool Shard::IsAnswered(const CallKey& key) const {
  return !syncing_.contains(key) && !erasing_.contains(key);
}

bool Shard::MayCommitHere(const std::vector<Request>& requests, uint64_t bytes) const {
  return MayCommitHere() && requests.size() <= kBroughtItemsMax && bytes <= kBroughtBytesMax &&
         std::all_of(requests.begin(), requests.end(), [this](const Request& request) {
           return !MaySync(request.operation, context_.sync_puts) && IsAnswered(request.key);
         });
}

bool Shard::MayCommitHere(const std::vector<WantedCall>& calls) const {
  return MayCommitHere() && calls.size() <= kBroughtItemsMax &&
         std::all_of(calls.begin(), calls.end(),
                     [this](const WantedCall& call) { return IsAnswered(call.key); });
}

void Shard::CommitHere(Queue brought) {
  std::vector<Deferral::Work> callbacks;
  {
    Deferral deferral;
    const Unsynced unsynced = RunGroup(std::move(brought), Erases::kNo);
    Check(unsynced.empty(), "what was brought needs no sync");
    callbacks = deferral.Take();
  }
  StopCommitting();
  ++brought_depth;
  for (Deferral::Work& callback : callbacks) callback();
  --brought_depth;
}

void Shard::WakeThread() {
  // Who commits looks at the queue again before it stops.
  if (!committing_) changed_.NotifyOne();
}

void Shard::StopCommitting() {
  MutexLock lock(&mutex_);
  committing_ = false;
  has_rest_ = !delayed_visits_.empty() || !to_wake_.empty() || !erasure_.empty();
  const bool had_timers = std::exchange(has_timers_, wheel_.size() > 0);
  if (HasWork() || has_rest_ || stopping_ || thread_waits_to_commit_ ||
      (has_timers_ && !had_timers)) {
    changed_.NotifyOne();
  }
}

void Shard::Run() {
  while (true) {
    Queue queue;
    {
      MutexLock lock(&mutex_);
      // An idle thread comes by for its timers.
      if (!HasWork() && !has_rest_ && !stopping_) {
        if (has_timers_) {
          changed_.WaitFor(&mutex_, kTick);
        } else {
          changed_.Wait(&mutex_);
        }
      }
      if (!HasWork() && !has_rest_ && stopping_ && !committing_) break;
      if (!HasWork() && !has_rest_ && !has_timers_ && !stopping_) continue;
      StartCommitting();
      queue = TakeQueue();
    }
    const size_t item_count = queue.requests.size() + queue.visits.size();
    std::vector<Deferral::Work> callbacks;
    Unsynced unsynced;
    {
      Deferral deferral;
      unsynced = RunGroup(std::move(queue), Erases::kYes);
      callbacks = deferral.Take();
    }
    if (!unsynced.empty()) {
      CallBack(std::move(callbacks), item_count);
      Deferral deferral;
      Settle(std::move(unsynced));
      callbacks = deferral.Take();
    }
    StopCommitting();
    CallBack(std::move(callbacks), item_count);
  }
  StopClaimants(absl::OkStatus());
}

void Shard::StartCommitting() {
  thread_waits_to_commit_ = true;
  while (committing_) changed_.Wait(&mutex_);
  thread_waits_to_commit_ = false;
  committing_ = true;
}

// The disk is waited for without holding others up: they may commit meanwhile, and leave the calls
// alone whose changes are not answered yet.
void Shard::Settle(Unsynced unsynced) {
  {
    MutexLock lock(&mutex_);
    syncing_.insert(unsynced.calls.begin(), unsynced.calls.end());
  }
  StopCommitting();
  const absl::Status status =
      unsynced.rows ? context_.storage->Sync() : context_.storage->SyncErasures();
  {
    MutexLock lock(&mutex_);
    StartCommitting();
    syncing_.clear();
  }
  if (!status.ok()) return Fail(status, std::move(unsynced.answers));
  for (Answer& answer : unsynced.answers) answer.request.Complete(std::move(answer.result));
}

void Shard::CallBack(std::vector<Deferral::Work> callbacks, size_t item_count) {
  if (callbacks.empty()) return;
  if (callbacks.size() <= kCallbacksHereMax && item_count <= kBroughtItemsMax && QueueIsEmpty()) {
    for (Deferral::Work& callback : callbacks) callback();
    return;
  }
  const size_t part_size = (callbacks.size() - 1) / context_.workers->thread_count() + 1;
  for (size_t first = 0; first < callbacks.size(); first += part_size) {
    const auto begin = callbacks.begin() + first;
    const auto end = begin + std::min(part_size, callbacks.size() - first);
    std::vector<Deferral::Work> part(std::make_move_iterator(begin), std::make_move_iterator(end));
    context_.workers->Run([part = std::move(part)]() mutable {
      for (Deferral::Work& callback : part) callback();
    });
  }
}

}  // namespace mayfly
