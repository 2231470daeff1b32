// The Router brings requests to the shard of their call, and what comes of them back.
//
// It counts what is in flight: a store is not destroyed before every request is answered and every
// callback has run. Callbacks of requests run on a worker thread, or, for what a shard commits, on the
// committer's thread once the group has ended (shard/deferral.h).
//
// Thread-safe, but for Start.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/types/span.h"

#include "base/mutex.h"
#include "base/notification.h"
#include "store/context.h"
#include "store/shard/commit_thread.h"
#include "store/shard/committer.h"

namespace mayfly {

class Router {
 public:
  explicit Router(const StoreContext& context) : context_(context) {}
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;

  // Makes the shards, as many as the configuration says, and their threads.
  absl::Status Start(Sweeper* sweeper, Uploads* uploads);
  // Finishes what is queued and ends the threads. Before the workers end, and before the destructor.
  void Stop();

  // Collects the requests that its thread submits while it is alive, and passes them to the committers
  // together, when it ends: those of one message then make a group in each shard, and another of those
  // that wait for the disk. Each Submit stays together and in its order. They do not nest.
  class Gathering {
   public:
    explicit Gathering(Router* router);
    ~Gathering();
    Gathering(const Gathering&) = delete;
    Gathering& operator=(const Gathering&) = delete;

   private:
    friend class Router;
    void Add(std::vector<Request> requests);

    static inline thread_local Gathering* current_ = nullptr;
    Router& router_;
    std::vector<Request> quick_;
    std::vector<Request> slow_;  // wait for the disk
  };

  uint32_t shard_count() const { return static_cast<uint32_t>(committers_.size()); }
  // The same in every run: the usage that a shard has recorded stays its own.
  uint32_t ShardOf(const CallId& call_id) const;
  Committer& shard(uint32_t number) { return *committers_[number]; }
  Committer& CommitterOf(const CallId& call_id) { return shard(ShardOf(call_id)); }
  // One part for each shard, some of them empty. Calls are numbered in the order given.
  std::vector<std::vector<WantedCall>> Partition(const Tenant& tenant,
                                                 absl::Span<const CallId> call_ids) const;

  void Submit(std::vector<Request> requests);
  // One operation for each item, whose results go to `done` in the order of the items, also when
  // there are none. `make_operation` returns pairs of CallId and Operation. Without room in the queue
  // all are refused: OVERLOADED.
  template <typename Item, typename MakeOperation>
  void SubmitEach(Tenant* tenant, const std::vector<Item>& items, MakeOperation make_operation,
                  Batch::Done done) {
    if (items.empty()) return done({});
    QueueLease queue = context_.quota.ReserveQueue(items.size(), 0);
    if (queue.empty()) return RefuseLater(items.size(), std::move(done));
    auto batch = MakeBatch(items.size(), std::move(queue), std::move(done));
    std::vector<Request> requests;
    requests.reserve(items.size());
    for (const Item& item : items) {
      auto [call_id, operation] = make_operation(item);
      requests.push_back(Request{.tenant = tenant,
                                 .key = {.id = call_id, .tenant = tenant->number},
                                 .operation = std::move(operation),
                                 .content = nullptr,
                                 .batch = batch,
                                 .index = requests.size()});
    }
    Submit(std::move(requests));
  }
  void SubmitOne(Tenant* tenant, const CallKey& key, Operation operation,
                 std::unique_ptr<PutContent> content,
                 absl::AnyInvocable<void(OperationResult)> done);
  // Collects the results of `count` requests.
  std::shared_ptr<Batch> MakeBatch(size_t count, QueueLease queue, Batch::Done done);
  // There was no room in the queue for `count` requests.
  void RefuseLater(size_t count, Batch::Done done);

  // Within a group: when it has ended. Else on a worker thread.
  void RunLater(absl::AnyInvocable<void()> work);
  void RunOnWorker(absl::AnyInvocable<void()> work);
  // On the thread of each shard in turn, between two groups. Returns when all have run.
  void RunOnEachShard(absl::FunctionRef<void(uint32_t number, Shard* shard)> work);

  // Waits for what a request or a group will notify. Not for committers and workers.
  void Await(Notification* notification);

  // Something is in flight between the two.
  void Begin() EXCLUDES_LOCK(mutex_);
  void End() EXCLUDES_LOCK(mutex_);
  bool IsIdle() EXCLUDES_LOCK(mutex_);
  void WaitUntilIdle() EXCLUDES_LOCK(mutex_);

  // Stops every claimant that waits. From now on puts, gets and claims are refused.
  void Drain();
  bool is_draining() const { return draining_; }
  uint64_t queued_requests();

 private:
  void SubmitNow(std::vector<Request> requests);

  const StoreContext& context_;
  std::atomic<bool> draining_{false};
  Mutex mutex_;
  ConditionVariable idle_;
  uint64_t in_flight_ GUARDED_BY(mutex_) = 0;
  std::vector<std::unique_ptr<Committer>> committers_;
  std::vector<std::unique_ptr<CommitThread>> threads_;  // last: they use all of the above
};

}  // namespace mayfly
