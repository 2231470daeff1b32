#include "store/call_store.h"

#include <algorithm>
#include <array>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/notification.h"
#include "crypto/random.h"

namespace mayfly {
namespace {

int WorkerCount(const Config& config) {
  if (config.server.worker_threads != 0) return static_cast<int>(config.server.worker_threads);
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<CallStore>> CallStore::Start(std::unique_ptr<Storage> storage,
                                                            CallStoreOptions options) {
  const bool background_threads = options.background_threads;
  auto store = std::unique_ptr<CallStore>(new CallStore(std::move(storage), std::move(options)));
  const Config& config = store->config_;
  auto time = TimeSource::Start(store->options_.clock, store->storage_.get(),
                                config.retention.clock_jump_grace);
  RETURN_IF_ERROR(time.status());
  store->time_ = *std::move(time);
  const Now now = store->time_->Read();
  RETURN_IF_ERROR(store->storage_->keyring()->EnsureAhead(now.steady_ms));
  RETURN_IF_ERROR(store->tenants_.Start(now));
  const auto id_window = StartIdWindow(
      store->storage_.get(), absl::ToInt64Milliseconds(config.limits.id_window), now.steady_ms);
  RETURN_IF_ERROR(id_window.status());

  store->uploads_ = std::make_unique<Uploads>(store->ContextOfUploads());
  RETURN_IF_ERROR(store->uploads_->Start());

  for (uint32_t number = 0; number < config.storage.shards; ++number) {
    auto usage = store->storage_->LoadUsage(number);
    RETURN_IF_ERROR(usage.status());
    store->shards_.push_back(std::make_unique<Shard>(
        number,
        ShardContext{
            .storage = store->storage_.get(),
            .cipher = &store->cipher_,
            .time = store->time_.get(),
            .tenants = &store->tenants_,
            .sweeper = &store->sweeper_,
            .uploads = store->uploads_.get(),
            .sync_puts = config.storage.durability == Config::Durability::kSync,
            .id_window = *id_window,
            .lease_total_max_ms = absl::ToInt64Milliseconds(config.claims.lease_total_max),
            .fence_counter = &store->fence_counter_,
            .unsynced_rows = &store->unsynced_rows_,
            .payload_ends = store->options_.payload_ends,
            .on_fatal = &store->on_fatal_,
            .workers = store->workers_.get(),
        },
        *usage));
  }
  CallStore* const raw = store.get();
  store->upkeep_ = std::make_unique<Upkeep>(UpkeepContext{
      .storage = store->storage_.get(),
      .time = store->time_.get(),
      .tenants = &store->tenants_,
      .sweeper = &store->sweeper_,
      .uploads = store->uploads_.get(),
      .sink = raw,
      .unsynced_rows = &store->unsynced_rows_,
      .on_commit_threads =
          [raw](absl::FunctionRef<void(uint32_t, Shard*)> work) {
            for (uint32_t number = 0; number < raw->shards_.size(); ++number) {
              Notification finished;
              raw->shards_[number]->RunBetweenGroups([&] {
                work(number, raw->shards_[number].get());
                finished.Notify();
              });
              finished.WaitForNotification();
            }
          },
      .shard_of = [raw](const CallId& id) { return raw->ShardOf(id); },
      .on_fatal = &store->on_fatal_,
      .on_log = &store->options_.on_log,
  });
  if (background_threads) store->upkeep_->StartThreads();
  return store;
}

CallStore::CallStore(std::unique_ptr<Storage> storage, CallStoreOptions options)
    : options_(std::move(options)),
      config_(*options_.config),
      storage_(std::move(storage)),
      cipher_(storage_->keyring()),
      tenants_(storage_.get(), config_),
      sweeper_(storage_.get(), this, config_.retention.sweep_batch_calls),
      on_fatal_([this](const absl::Status& status) {
        if (!fatal_told_.exchange(true)) options_.on_fatal(status);
      }),
      workers_(std::make_unique<ThreadPool>("worker", WorkerCount(config_))) {}

CallStore::~CallStore() {
  Drain();
  upkeep_.reset();
  {
    // A callback may submit again, so the threads go when nothing is on its way any more.
    MutexLock lock(&in_flight_mutex_);
    while (in_flight_ > 0) all_ended_.Wait(&in_flight_mutex_);
  }
  shards_.clear();
  workers_.reset();
  if (time_ == nullptr) return;
  absl::Status status = storage_->Sync();
  if (status.ok()) status = storage_->SyncRecord();
  if (status.ok()) status = time_->Persist();
  if (!status.ok()) on_fatal_(status);
}

absl::StatusOr<Tenant*> CallStore::ResolveTenant(absl::string_view name) {
  return tenants_.Resolve(name);
}

CallId CallStore::MintCallId() {
  std::array<uint8_t, 10> random;
  FillRandom(absl::MakeSpan(random));
  return CallId::Mint(absl::FromUnixMillis(time_->Read().steady_ms), random);
}

absl::Status CallStore::DrainingError() {
  return MakeError(absl::StatusCode::kUnavailable, Reason::kDraining,
                   "the server is shutting down");
}

uint32_t CallStore::ShardOf(const CallId& call_id) const {
  // The same in every run, so that the usage a shard has accounted for stays its own.
  const uint64_t random_part = LoadBigEndian<uint64_t>(call_id.bytes().data() + 8);
  return static_cast<uint32_t>(random_part % shards_.size());
}

void CallStore::Submit(std::vector<Request> requests) {
  if (shards_.size() == 1) return shards_[0]->Submit(std::move(requests));
  std::vector<std::vector<Request>> parts(shards_.size());
  for (Request& request : requests) {
    parts[ShardOf(request.key.id)].push_back(std::move(request));
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    if (!parts[i].empty()) shards_[i]->Submit(std::move(parts[i]));
  }
}

std::shared_ptr<Batch> CallStore::MakeBatch(size_t count, Batch::Done done) {
  Begin();
  return std::make_shared<Batch>(
      count, [this, done = std::move(done)](std::vector<OperationResult> results) mutable {
        RunLater([done = std::move(done), results = std::move(results)]() mutable {
          done(std::move(results));
        });
        End();
      });
}

void CallStore::RunLater(absl::AnyInvocable<void()> work) {
  Begin();
  auto counted = [this, work = std::move(work)]() mutable {
    work();
    End();
  };
  if (Deferral* const deferral = Deferral::Current()) {
    deferral->Add(std::move(counted));
  } else {
    workers_->Run(std::move(counted));
  }
}

void CallStore::Begin() {
  MutexLock lock(&in_flight_mutex_);
  ++in_flight_;
}

void CallStore::End() {
  MutexLock lock(&in_flight_mutex_);
  if (--in_flight_ == 0) all_ended_.NotifyAll();
}

// ---- Describe, delete, expire

void CallStore::DescribeCalls(Tenant* tenant, std::vector<CallId> call_ids,
                              Callback<std::vector<DescribeResult>> done) {
  SubmitEach(
      tenant, call_ids,
      [](const CallId& id) { return std::pair<CallId, Operation>(id, DescribeCall{}); },
      [done = std::move(done)](std::vector<OperationResult> results) mutable {
        std::vector<DescribeResult> answers;
        answers.reserve(results.size());
        for (OperationResult& result : results) {
          answers.push_back(DescribeResult{.phase = result.phase,
                                           .input = result.input,
                                           .output = result.output,
                                           .status = std::move(result.status)});
        }
        done(std::move(answers));
      });
}

void CallStore::DeleteCalls(Tenant* tenant, std::vector<CallId> call_ids,
                            Callback<std::vector<EndResult>> done) {
  SubmitEach(
      tenant, call_ids,
      [](const CallId& id) { return std::pair<CallId, Operation>(id, DeleteCall{}); },
      [done = std::move(done)](std::vector<OperationResult> results) mutable {
        std::vector<EndResult> answers;
        answers.reserve(results.size());
        for (OperationResult& result : results) {
          answers.push_back(
              EndResult{.status = std::move(result.status), .ended_ms = result.ended_ms});
        }
        done(std::move(answers));
      });
}

// Blocks the sweep until the batch is erased, so that foreground work finds at most one batch of
// the sweep in any group.
void CallStore::Expire(absl::Span<const DuePayload> due) {
  Notification finished;
  std::vector<Request> requests;
  requests.reserve(due.size());
  for (const DuePayload& payload : due) {
    Tenant* const tenant = tenants_.ByNumber(payload.key.tenant);
    if (tenant == nullptr) continue;
    requests.push_back(Request{.tenant = tenant,
                               .key = payload.key,
                               .operation = ExpirePayload{.kind = payload.kind,
                                                          .generation = payload.slot.generation,
                                                          .slot = payload.slot.slot},
                               .content = nullptr,
                               .batch = nullptr,
                               .index = requests.size()});
  }
  if (requests.empty()) return;
  auto batch = std::make_shared<Batch>(
      requests.size(), [&finished](std::vector<OperationResult>) { finished.Notify(); });
  for (Request& request : requests) request.batch = batch;
  Submit(std::move(requests));
  finished.WaitForNotification();
}

// ---- The whole

void CallStore::Drain() {
  draining_ = true;
  for (const auto& shard : shards_) shard->Drain();
}

void CallStore::Tick() {
  upkeep_->Maintain();
  while (upkeep_->Sweep()) {
  }
  for (const auto& shard : shards_) {
    Notification finished;
    shard->RunBetweenGroups([&finished] { finished.Notify(); });
    finished.WaitForNotification();
  }
}

CallStore::Health CallStore::health() {
  Health health{.clocks_disagree = time_->disagreement().has_value(),
                .sweep_lag_ms = sweeper_.lag_ms(time_->Read())};
  for (const auto& shard : shards_) health.queued_operations += shard->queued_requests();
  return health;
}

}  // namespace mayfly
