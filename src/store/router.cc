#include "store/router.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "store/shard/durability.h"

namespace mayfly {
namespace {

// How many requests are worth waiting for others.
constexpr size_t kGatheredMax = 4096;

}  // namespace

absl::Status Router::Start(Sweeper* sweeper, Uploads* uploads) {
  for (uint32_t number = 0; number < context_.config.storage.shards; ++number) {
    auto usage = context_.storage.LoadUsage(number);
    RETURN_IF_ERROR(usage.status());
    committers_.push_back(std::make_unique<Committer>(number, context_, sweeper, uploads, *usage));
  }
  if (context_.stepper != nullptr) {
    std::vector<Committer*> committers;
    for (const auto& committer : committers_) committers.push_back(committer.get());
    context_.stepper->TakeCommitters(committers);
    return absl::OkStatus();
  }
  for (uint32_t number = 0; number < shard_count(); ++number) {
    threads_.push_back(std::make_unique<CommitThread>(number, committers_[number].get()));
  }
  return absl::OkStatus();
}

void Router::Stop() {
  threads_.clear();
  if (context_.stepper != nullptr) {
    for (const auto& committer : committers_) {
      committer->Stop();
      while (committer->Wait()) committer->Step();
    }
  }
  for (const auto& committer : committers_) committer->StopClaimants();
}

uint32_t Router::ShardOf(const CallId& call_id) const {
  const uint64_t random_part = LoadBigEndian<uint64_t>(call_id.bytes().data() + 8);
  return static_cast<uint32_t>(random_part % committers_.size());
}

std::vector<std::vector<WantedCall>> Router::Partition(const Tenant& tenant,
                                                       absl::Span<const CallId> call_ids) const {
  std::vector<std::vector<WantedCall>> parts(committers_.size());
  uint32_t index = 0;
  for (const CallId& call_id : call_ids) {
    parts[ShardOf(call_id)].push_back(
        {.index = index++, .key = {.id = call_id, .tenant = tenant.number}});
  }
  return parts;
}

Router::Gathering::Gathering(Router* router) : router_(*router) {
  Check(current_ == nullptr, "gatherings do not nest");
  current_ = this;
}

Router::Gathering::~Gathering() {
  current_ = nullptr;
  if (!quick_.empty()) router_.SubmitNow(std::move(quick_));
  if (!slow_.empty()) router_.SubmitNow(std::move(slow_));
}

void Router::Gathering::Add(std::vector<Request> requests) {
  const bool syncs_puts = router_.context_.syncs_puts();
  const bool is_slow = std::any_of(
      requests.begin(), requests.end(),
      [syncs_puts](const Request& request) { return MaySync(request.operation, syncs_puts); });
  std::vector<Request>& gathered = is_slow ? slow_ : quick_;
  std::move(requests.begin(), requests.end(), std::back_inserter(gathered));
  // They have their places in the queue, which has no more than 65,536 of them.
  if (gathered.size() >= kGatheredMax) router_.SubmitNow(std::exchange(gathered, {}));
}

void Router::Submit(std::vector<Request> requests) {
  Gathering* const gathering = Gathering::current_;
  if (gathering == nullptr || &gathering->router_ != this) return SubmitNow(std::move(requests));
  gathering->Add(std::move(requests));
}

void Router::SubmitNow(std::vector<Request> requests) {
  if (committers_.size() == 1) return committers_[0]->Submit(std::move(requests));
  std::vector<std::vector<Request>> parts(committers_.size());
  for (Request& request : requests) {
    parts[ShardOf(request.key.id)].push_back(std::move(request));
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    if (!parts[i].empty()) committers_[i]->Submit(std::move(parts[i]));
  }
}

void Router::SubmitOne(Tenant* tenant, const CallKey& key, Operation operation,
                       std::unique_ptr<PutContent> content,
                       absl::AnyInvocable<void(OperationResult)> done) {
  Batch::Done take_first = [done = std::move(done)](std::vector<OperationResult> results) mutable {
    done(std::move(results.front()));
  };
  QueueLease queue = context_.quota.ReserveQueue(1, content != nullptr ? content->row.size() : 0);
  if (queue.empty()) return RefuseLater(1, std::move(take_first));
  auto batch = MakeBatch(1, std::move(queue), std::move(take_first));
  std::vector<Request> requests;
  requests.push_back(Request{.tenant = tenant,
                             .key = key,
                             .operation = std::move(operation),
                             .content = std::move(content),
                             .batch = std::move(batch),
                             .index = 0});
  Submit(std::move(requests));
}

std::shared_ptr<Batch> Router::MakeBatch(size_t count, QueueLease queue, Batch::Done done) {
  Begin();
  return std::make_shared<Batch>(
      count, std::move(queue),
      [this, done = std::move(done)](std::vector<OperationResult> results) mutable {
        RunLater([done = std::move(done), results = std::move(results)]() mutable {
          done(std::move(results));
        });
        End();
      });
}

void Router::RefuseLater(size_t count, Batch::Done done) {
  RunLater([count, done = std::move(done)]() mutable {
    std::vector<OperationResult> results(count);
    for (OperationResult& result : results) result.status = QueueRoom::Refusal();
    done(std::move(results));
  });
}

void Router::RunLater(absl::AnyInvocable<void()> work) {
  Deferral* const deferral = Deferral::Current();
  if (deferral == nullptr) return RunOnWorker(std::move(work));
  Begin();
  deferral->Add([this, work = std::move(work)]() mutable {
    work();
    work = nullptr;
    End();
  });
}

void Router::RunOnWorker(absl::AnyInvocable<void()> work) {
  Begin();
  context_.workers.Run([this, work = std::move(work)]() mutable {
    work();
    // It may hold the last reference to something that belongs to the store.
    work = nullptr;
    End();
  });
}

void Router::RunOnEachShard(absl::FunctionRef<void(uint32_t, Shard*)> work) {
  for (uint32_t number = 0; number < shard_count(); ++number) {
    Notification finished;
    committers_[number]->RunBetweenGroups([&](Shard* shard) {
      work(number, shard);
      finished.Notify();
    });
    Await(&finished);
  }
}

void Router::Await(Notification* notification) {
  if (context_.stepper == nullptr) return notification->WaitForNotification();
  context_.stepper->RunUntil([notification] { return notification->is_notified(); });
}

void Router::Begin() {
  MutexLock lock(&mutex_);
  ++in_flight_;
}

void Router::End() {
  MutexLock lock(&mutex_);
  if (--in_flight_ == 0) idle_.NotifyAll();
}

bool Router::IsIdle() {
  MutexLock lock(&mutex_);
  return in_flight_ == 0;
}

void Router::WaitUntilIdle() {
  if (context_.stepper != nullptr) return context_.stepper->RunUntil([this] { return IsIdle(); });
  MutexLock lock(&mutex_);
  while (in_flight_ > 0) idle_.Wait(&mutex_);
}

void Router::Drain() {
  draining_ = true;
  for (const auto& committer : committers_) committer->Drain();
}

uint64_t Router::queued_requests() {
  uint64_t count = 0;
  for (const auto& committer : committers_) count += committer->queued_requests();
  return count;
}

}  // namespace mayfly
