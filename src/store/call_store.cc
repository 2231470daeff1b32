#include "store/call_store.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/notification.h"

namespace mayfly {
namespace {

absl::Status DrainingError() {
  return MakeError(absl::StatusCode::kUnavailable, Reason::kDraining,
                   "the server is shutting down");
}

int WorkerCount(const Config& config) {
  if (config.server.worker_threads != 0) return static_cast<int>(config.server.worker_threads);
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

}  // namespace

// A put as both kinds have it.
struct CallStore::Put {
  CallId call_id;
  PayloadKind kind = PayloadKind::kInput;
  uint32_t attempt = 0;
  int64_t ttl_ms = 0;
  NewPayload payload;
};

struct CallStore::PutJob {
  struct Submitted {
    size_t index = 0;  // in results
    CallKey key;
    StoredPayload payload;
  };
  std::vector<PutResult> results;
  std::vector<Submitted> submitted;  // in the order of the batch
  Callback<std::vector<PutResult>> done;
};

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
            .sync_puts = config.storage.durability == Config::Durability::kSync,
            .id_window_ms = absl::ToInt64Milliseconds(config.limits.id_window),
            .lease_total_max_ms = absl::ToInt64Milliseconds(config.claims.lease_total_max),
            .fence_counter = &store->fence_counter_,
            .unsynced_puts = &store->unsynced_puts_,
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
      .sink = raw,
      .unsynced_puts = &store->unsynced_puts_,
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
  if (status.ok()) status = time_->Persist();
  if (!status.ok()) on_fatal_(status);
}

absl::StatusOr<Tenant*> CallStore::ResolveTenant(absl::string_view name) {
  return tenants_.Resolve(name);
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

// ---- Puts

void CallStore::PutInputs(Tenant* tenant, std::vector<NewInput> inputs,
                          Callback<std::vector<PutResult>> done) {
  std::vector<Put> puts;
  puts.reserve(inputs.size());
  for (NewInput& input : inputs) {
    puts.push_back(Put{.call_id = input.call_id,
                       .kind = PayloadKind::kInput,
                       .ttl_ms = input.ttl_ms,
                       .payload = std::move(input.payload)});
  }
  PutPayloads(tenant, std::move(puts), std::move(done));
}

void CallStore::PutOutputs(Tenant* tenant, std::vector<NewOutput> outputs,
                           Callback<std::vector<PutResult>> done) {
  std::vector<Put> puts;
  puts.reserve(outputs.size());
  for (NewOutput& output : outputs) {
    puts.push_back(Put{.call_id = output.call_id,
                       .kind = PayloadKind::kOutput,
                       .attempt = output.attempt,
                       .ttl_ms = output.ttl_ms,
                       .payload = std::move(output.payload)});
  }
  PutPayloads(tenant, std::move(puts), std::move(done));
}

void CallStore::PutPayloads(Tenant* tenant, std::vector<Put> puts,
                            Callback<std::vector<PutResult>> done) {
  auto job = std::make_shared<PutJob>();
  job->results.resize(puts.size());
  job->done = std::move(done);
  absl::Status refusal = draining_ ? DrainingError() : absl::OkStatus();
  std::vector<SlotLease> leases;
  if (refusal.ok()) {
    auto reserved = storage_->ReserveSlots(puts.size());
    if (reserved.ok()) leases = *std::move(reserved);
    refusal = reserved.status();
  }
  const int64_t now_ms = time_->Read().steady_ms;
  std::vector<Request> requests;
  std::vector<SlotRef> unused;
  for (size_t i = 0; i < puts.size(); ++i) {
    absl::Status& status = job->results[i].status = refusal;
    if (!status.ok()) continue;
    const SlotRef slot = leases[i].ref;
    Request request;
    status = PreparePut(tenant, puts[i], &leases[i], now_ms, &request);
    if (!status.ok()) {
      unused.push_back(slot);
      continue;
    }
    const auto* input = std::get_if<PutInput>(&request.operation);
    job->submitted.push_back(
        {.index = i,
         .key = request.key,
         .payload = input ? input->payload : std::get<PutOutput>(request.operation).payload});
    request.index = requests.size();
    requests.push_back(std::move(request));
  }
  if (!unused.empty()) storage_->ReturnSlots(unused);

  auto finish = [this, job](std::vector<OperationResult> results) {
    FinishPuts(job.get(), std::move(results));
  };
  if (requests.empty()) return RunLater([finish] { finish({}); });
  auto batch = MakeBatch(requests.size(), finish);
  for (Request& request : requests) request.batch = batch;
  Submit(std::move(requests));
}

absl::Status CallStore::PreparePut(Tenant* tenant, const Put& put, SlotLease* lease, int64_t now_ms,
                                   Request* request) {
  const CallKey key{.id = put.call_id, .tenant = tenant->number};
  StoredPayload stored{.slot = lease->ref,
                       .attempt = put.attempt,
                       .size_bytes = put.payload.data.size(),
                       .stored_ms = now_ms,
                       .deadline_ms = now_ms + put.ttl_ms};
  const auto write_segment = [&](uint32_t number, const Sealed& segment) {
    return storage_->WriteSegment(key, stored.slot, number, segment);
  };
  auto row = cipher_.SealPayload(key, put.kind, lease->secret, put.payload, write_segment, &stored);
  if (!row.ok()) {
    // Segments of a slot that is never committed are orphans, which upkeep removes.
    return row.status();
  }
  request->tenant = tenant;
  request->key = key;
  if (put.kind == PayloadKind::kInput) {
    request->operation = PutInput{.id_time_ms = put.call_id.time_ms(), .payload = stored};
  } else {
    request->operation = PutOutput{.payload = stored};
  }
  request->content = std::make_unique<PutContent>(PutContent{.metadata = put.payload.metadata,
                                                             .size_bytes = stored.size_bytes,
                                                             .secret = std::move(lease->secret),
                                                             .row = *std::move(row)});
  return absl::OkStatus();
}

void CallStore::FinishPuts(PutJob* job, std::vector<OperationResult> results) {
  std::vector<SlotRef> unused;
  for (size_t i = 0; i < results.size(); ++i) {
    const PutJob::Submitted& submitted = job->submitted[i];
    OperationResult& result = results[i];
    PutResult& answer = job->results[submitted.index];
    answer.status = std::move(result.status);
    if (result.payload) answer.deadline_ms = result.payload->deadline_ms;
    const bool is_stored = result.payload && result.payload->slot == submitted.payload.slot;
    if (is_stored || ReasonOf(answer.status) == Reason::kStorageDown) continue;
    unused.push_back(submitted.payload.slot);
    if (submitted.payload.segment_count == 0) continue;
    const absl::Status removed =
        storage_->RemoveSegments({.key = submitted.key,
                                  .slot = submitted.payload.slot,
                                  .count = submitted.payload.segment_count});
    if (!removed.ok()) on_fatal_(removed);
  }
  if (!unused.empty()) storage_->ReturnSlots(unused);
  job->done(std::move(job->results));
}

// ---- Gets

struct CallStore::GetJob {
  Tenant* tenant = nullptr;
  std::vector<CallId> call_ids;
  uint64_t bytes_max = 0;
  std::vector<InputResult> results;
  Callback<std::vector<InputResult>> done;
};

void CallStore::GetInputs(Tenant* tenant, std::vector<CallId> call_ids, uint64_t bytes_max,
                          Callback<std::vector<InputResult>> done) {
  auto job = std::make_shared<GetJob>();
  job->tenant = tenant;
  job->bytes_max = bytes_max;
  job->results.resize(call_ids.size());
  job->call_ids = std::move(call_ids);
  job->done = std::move(done);
  if (draining_) {
    for (InputResult& result : job->results) result.status = DrainingError();
    return RunLater([job] { job->done(std::move(job->results)); });
  }
  std::vector<OperationResult> results = LookUpInputs(tenant, job->call_ids);
  if (!results.empty()) {
    Begin();
    ReadInputs(std::move(job), std::move(results));
    return End();
  }
  SubmitEach(
      tenant, job->call_ids,
      [](const CallId& id) { return std::pair<CallId, Operation>(id, GetInput{}); },
      [this, job](std::vector<OperationResult> told) { ReadInputs(job, std::move(told)); });
}

std::vector<OperationResult> CallStore::LookUpInputs(Tenant* tenant,
                                                     const std::vector<CallId>& call_ids) {
  std::vector<CallKey> keys;
  keys.reserve(call_ids.size());
  for (const CallId& id : call_ids) keys.push_back({.id = id, .tenant = tenant->number});
  std::vector<LoadedCall> calls(keys.size());
  if (!storage_->Peek(keys, absl::MakeSpan(calls)).ok()) return {};
  const ApplyContext context = RetentionContext(*tenant, time_->Read());
  std::vector<OperationResult> results;
  results.reserve(calls.size());
  for (const LoadedCall& call : calls) {
    results.push_back(Apply(call.state, GetInput{}, context).result);
    if (!results.back().status.ok()) return {};
  }
  return results;
}

void CallStore::ReadInputs(std::shared_ptr<GetJob> job, std::vector<OperationResult> results) {
  std::vector<ReadItem> items;
  std::vector<size_t> places;
  uint64_t bytes = 0;
  for (size_t i = 0; i < results.size(); ++i) {
    InputResult& answer = job->results[i];
    answer.status = std::move(results[i].status);
    if (!answer.status.ok()) continue;
    const StoredPayload& stored = *results[i].payload;
    answer.size_bytes = stored.size_bytes;
    answer.deadline_ms = stored.deadline_ms;
    if (!items.empty() && bytes + stored.size_bytes > job->bytes_max) continue;
    bytes += stored.size_bytes;
    places.push_back(i);
    items.push_back({.key = {job->call_ids[i], job->tenant->number}, .stored = stored});
  }
  ReadPayloads(job->tenant, PayloadKind::kInput, &items);

  std::vector<size_t> ended_places;
  std::vector<CallId> ended_ids;
  for (size_t i = 0; i < items.size(); ++i) {
    InputResult& answer = job->results[places[i]];
    if (items[i].payload.ok()) {
      answer.payload = *std::move(items[i].payload);
      continue;
    }
    answer = InputResult{.status = items[i].payload.status()};
    if (!absl::IsNotFound(answer.status)) continue;
    ended_places.push_back(places[i]);
    ended_ids.push_back(items[i].key.id);
  }
  ExplainEnds(job->tenant, std::move(ended_ids),
              [job, ended_places](std::vector<absl::Status> reasons) {
                for (size_t i = 0; i < reasons.size(); ++i) {
                  job->results[ended_places[i]].status = std::move(reasons[i]);
                }
                job->done(std::move(job->results));
              });
}

void CallStore::ReadPayloads(Tenant* tenant, PayloadKind kind, std::vector<ReadItem>* items) {
  std::vector<PayloadRef> refs;
  refs.reserve(items->size());
  for (const ReadItem& item : *items) {
    refs.push_back({.key = item.key, .kind = kind, .slot = item.stored.slot});
  }
  const std::vector<absl::StatusOr<Sealed>> rows = storage_->ReadRows(refs);
  for (size_t i = 0; i < items->size(); ++i) {
    ReadItem& item = (*items)[i];
    item.payload = OpenRow(tenant, kind, item, rows[i]);
  }
}

absl::StatusOr<Payload> CallStore::OpenRow(Tenant* tenant, PayloadKind kind, const ReadItem& item,
                                           const absl::StatusOr<Sealed>& row) {
  RETURN_IF_ERROR(row.status());
  const auto secret = storage_->ReadSecret(item.stored.slot);
  RETURN_IF_ERROR(secret.status());
  // Time has passed since the rules decided, and a deadline is a deadline.
  const auto still_readable = [&] {
    return IsReadable(item.stored, RetentionContext(*tenant, time_->Read()));
  };
  const auto read_segment = [&](uint32_t number) -> absl::StatusOr<Sealed> {
    if (!still_readable()) return absl::NotFoundError("the payload is past its deadline");
    return storage_->ReadSegment(item.key, item.stored.slot, number);
  };
  auto payload = cipher_.OpenPayload(item.key, kind, item.stored, *secret, *row, read_segment);
  if (payload.ok() && !still_readable()) {
    return absl::NotFoundError("the payload is past its deadline");
  }
  return payload;
}

void CallStore::ExplainEnds(Tenant* tenant, std::vector<CallId> call_ids,
                            Callback<std::vector<absl::Status>> done) {
  SubmitEach(
      tenant, call_ids,
      [](const CallId& id) { return std::pair<CallId, Operation>(id, GetInput{}); },
      [done = std::move(done)](std::vector<OperationResult> results) mutable {
        std::vector<absl::Status> reasons;
        for (OperationResult& result : results) {
          // The call lives, yet its payload is not there.
          if (result.status.ok()) {
            result.status = MakeError(absl::StatusCode::kDataLoss, Reason::kAuthenticationFailed,
                                      "the stored payload is missing");
          }
          reasons.push_back(std::move(result.status));
        }
        done(std::move(reasons));
      });
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
    requests.push_back(Request{
        .tenant = tenant,
        .key = payload.key,
        .operation = ExpirePayload{.kind = payload.kind, .generation = payload.slot.generation},
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
