#include "store/call_store.h"

#include <algorithm>
#include <array>
#include <thread>
#include <utility>

#include "base/error.h"
#include "crypto/random.h"

namespace mayfly {
namespace {

int WorkerCount(const Config& config) {
  if (config.server.worker_threads != 0) return static_cast<int>(config.server.worker_threads);
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

std::vector<GroupObserver*> WithUsage(GroupObserver* usage, std::vector<GroupObserver*> others) {
  others.insert(others.begin(), usage);
  return others;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CallStore>> CallStore::Start(std::unique_ptr<Storage> storage,
                                                            CallStoreOptions options) {
  const Config& config = *options.config;
  auto time = TimeSource::Start(options.clock, storage.get(), config.retention.clock_jump_grace);
  RETURN_IF_ERROR(time.status());
  const Now now = (*time)->Read();
  RETURN_IF_ERROR(storage->keyring()->EnsureAhead(now.steady_ms));
  const auto id_window = StartIdWindow(
      storage.get(), absl::ToInt64Milliseconds(config.limits.id_window), now.steady_ms);
  RETURN_IF_ERROR(id_window.status());
  auto store = std::unique_ptr<CallStore>(
      new CallStore(std::move(storage), std::move(options), *std::move(time), *id_window));
  RETURN_IF_ERROR(store->Recover());
  return store;
}

CallStore::CallStore(std::unique_ptr<Storage> storage, CallStoreOptions options,
                     std::unique_ptr<TimeSource> time, const IdWindow& id_window)
    : options_(std::move(options)),
      storage_(std::move(storage)),
      cipher_(storage_->keyring()),
      time_(std::move(time)),
      tenants_(storage_.get(), *options_.config),
      quota_(storage_.get(), options_.config->storage.shards),
      failure_(std::move(options_.on_fatal)),
      fences_(storage_->boot_number()),
      workers_(options_.stepper != nullptr
                   ? nullptr
                   : std::make_unique<ThreadPool>("worker", WorkerCount(*options_.config))),
      context_{
          .config = *options_.config,
          .storage = *storage_,
          .cipher = cipher_,
          .time = *time_,
          .tenants = tenants_,
          .quota = quota_,
          .failure = failure_,
          .workers = workers_ != nullptr ? static_cast<Executor&>(*workers_)
                                         : *options_.stepper->workers(),
          .fences = fences_,
          .id_window = id_window,
          .lease_total_max_ms = absl::ToInt64Milliseconds(options_.config->claims.lease_total_max),
          .payload_ends = options_.payload_ends,
          .observers = WithUsage(&usage_observer_, options_.observers),
          .stepper = options_.stepper},
      router_(context_),
      uploads_(context_, &router_),
      expiry_(context_, &router_),
      sweeper_(storage_.get(), &expiry_, options_.config->retention.sweep_batch_calls),
      puts_(context_, &router_),
      reads_(context_, &router_),
      claims_(context_, &router_, &reads_),
      subscriptions_(context_, &router_, &claims_),
      downloads_(context_, &router_),
      upkeep_(std::make_unique<Upkeep>(context_, &router_, &sweeper_, &uploads_, &subscriptions_,
                                       &expiry_, &options_.on_log)) {}

absl::Status CallStore::Recover() {
  RETURN_IF_ERROR(tenants_.Start(time_->Read()));
  RETURN_IF_ERROR(uploads_.Start());
  RETURN_IF_ERROR(router_.Start(&sweeper_, &uploads_));
  if (options_.background_threads) upkeep_->StartThreads();
  return absl::OkStatus();
}

CallStore::~CallStore() {
  Drain();
  upkeep_.reset();
  // A callback may submit again, so the threads end when nothing is in flight any more.
  router_.WaitUntilIdle();
  router_.Stop();
  workers_.reset();
  absl::Status status = storage_->Sync();
  if (status.ok()) status = storage_->SyncRecord();
  if (status.ok()) status = time_->Persist();
  failure_.Report(status);
}

absl::StatusOr<Tenant*> CallStore::ResolveTenant(absl::string_view name) {
  return tenants_.Resolve(name);
}

CallId CallStore::MintCallId() {
  std::array<uint8_t, 10> random;
  FillRandom(absl::MakeSpan(random));
  return CallId::Mint(absl::FromUnixMillis(time_->Read().steady_ms), random);
}

// ---- Requests

void CallStore::Together(absl::FunctionRef<void()> work) {
  const Router::Gathering gathering(&router_);
  work();
}

void CallStore::Put(Tenant* tenant, std::vector<NewPut> puts,
                    Callback<std::vector<PutResult>> done) {
  puts_.Put(tenant, std::move(puts), std::move(done));
}

void CallStore::GetInputs(Tenant* tenant, std::vector<CallId> call_ids, uint64_t bytes_max,
                          Callback<std::vector<InputResult>> done, PayloadTaker* taker) {
  reads_.GetInputs(tenant, std::move(call_ids), bytes_max, std::move(done), taker);
}

std::shared_ptr<ClaimHandle> CallStore::ClaimOutputs(Tenant* tenant, ClaimRequest request,
                                                     Callback<ClaimResponse> done) {
  return claims_.ClaimOutputs(tenant, std::move(request), std::move(done));
}

std::shared_ptr<Subscription> CallStore::Subscribe(Tenant* tenant, const SubscribeRequest& request,
                                                   Callback<Delivery> on_delivery) {
  return subscriptions_.Subscribe(tenant, request, std::move(on_delivery));
}

void CallStore::AckOutputs(Tenant* tenant, std::vector<ClaimRef> claims,
                           Callback<std::vector<EndResult>> done) {
  claims_.AckOutputs(tenant, std::move(claims), std::move(done));
}

void CallStore::ReleaseOutputs(Tenant* tenant, std::vector<ClaimRef> claims,
                               Callback<std::vector<absl::Status>> done) {
  claims_.ReleaseOutputs(tenant, std::move(claims), std::move(done));
}

void CallStore::RenewClaims(Tenant* tenant, std::vector<ClaimRef> claims, int64_t lease_ms,
                            Callback<std::vector<RenewResult>> done) {
  claims_.RenewClaims(tenant, std::move(claims), lease_ms, std::move(done));
}

void CallStore::DescribeCalls(Tenant* tenant, std::vector<CallId> call_ids,
                              Callback<std::vector<DescribeResult>> done) {
  router_.SubmitEach(
      tenant, call_ids,
      [](const CallId& id) { return std::pair<CallId, Operation>(id, DescribeCall{}); },
      [done = std::move(done)](std::vector<OperationResult> results) mutable {
        std::vector<DescribeResult> answers;
        answers.reserve(results.size());
        for (OperationResult& result : results) {
          answers.push_back(DescribeResult{.phase = result.phase,
                                           .input = result.input,
                                           .output = result.output,
                                           .lease_end_ms = result.lease_end_ms,
                                           .ended_ms = result.ended_ms,
                                           .status = std::move(result.status)});
        }
        done(std::move(answers));
      });
}

void CallStore::DeleteCalls(Tenant* tenant, std::vector<CallId> call_ids,
                            Callback<std::vector<EndResult>> done) {
  router_.SubmitEach(
      tenant, call_ids,
      [](const CallId& id) { return std::pair<CallId, Operation>(id, DeleteCall{}); },
      [done = std::move(done)](std::vector<OperationResult> results) mutable {
        done(EndResultsOf(std::move(results)));
      });
}

void CallStore::BeginUpload(Tenant* tenant, NewUpload upload, BeginUploadDone done) {
  uploads_.Begin(tenant, std::move(upload), std::move(done));
}

void CallStore::QueryUpload(Tenant* tenant, const UploadId& id,
                            Callback<absl::StatusOr<UploadProgress>> done) {
  uploads_.Query(tenant, id, std::move(done));
}

void CallStore::BeginDownload(Tenant* tenant, const DownloadRequest& request,
                              Downloads::Done done) {
  downloads_.Begin(tenant, request, std::move(done));
}

// ---- The whole

void CallStore::Drain() {
  router_.Drain();
  uploads_.RetryAppends();
}

void CallStore::Tick() {
  upkeep_->Maintain();
  while (upkeep_->Sweep()) {
  }
  router_.RunOnEachShard([](uint32_t, Shard*) {});
}

CallStore::Health CallStore::health() {
  return {.clocks_disagree = time_->disagreement().has_value(),
          .queued_operations = router_.queued_requests(),
          .sweep_lag_ms = sweeper_.lag_ms(time_->Read())};
}

}  // namespace mayfly
