// The part of the CallStore that moves payloads: puts of both kinds, gets of inputs, and the reading
// that claims share.

#include <utility>

#include "base/error.h"
#include "store/call_store.h"

namespace mayfly {

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
    bool has_room = false;  // else no segment was written
  };
  std::vector<PutResult> results;
  std::vector<Submitted> submitted;  // in the order of the batch
  Callback<std::vector<PutResult>> done;
};

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
         .payload = input ? input->payload : std::get<PutOutput>(request.operation).payload,
         .has_room = !request.content->room.empty()});
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

uint64_t CallStore::RoomFor(const NewPayload& payload) {
  const uint64_t data_bytes = payload.data.size();
  const uint64_t metadata_bytes = SizeOf(payload.metadata);
  if (data_bytes <= kInlineBytesMax) return RoomBudget::CostOfRow(data_bytes + metadata_bytes);
  const uint64_t segment_count = (data_bytes - 1) / kSegmentBytes + 1;
  return RoomBudget::CostOfSegment(data_bytes) +
         (segment_count - 1) * RoomBudget::CostOfSegment(0) + RoomBudget::CostOfRow(metadata_bytes);
}

absl::Status CallStore::PreparePut(Tenant* tenant, const Put& put, SlotLease* lease, int64_t now_ms,
                                   Request* request) {
  const CallKey key{.id = put.call_id, .tenant = tenant->number};
  StoredPayload stored{.slot = lease->ref,
                       .attempt = put.attempt,
                       .size_bytes = put.payload.data.size(),
                       .stored_ms = now_ms,
                       .deadline_ms = now_ms + put.ttl_ms};
  RoomLease room = storage_->ReserveRoom(RoomFor(put.payload));
  // Without room the payload is sealed all the same: the put may be the retry of one that is stored,
  // which is told by its fingerprint.
  const auto write_segment = [&](uint32_t number, const Sealed& segment) {
    if (room.empty()) return absl::OkStatus();
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
                                                             .row = *std::move(row),
                                                             .room = std::move(room)});
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
    if (is_stored || result.is_uncertain) continue;
    unused.push_back(submitted.payload.slot);
    if (submitted.payload.segment_count == 0 || !submitted.has_room) continue;
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
  PayloadTaker* taker = nullptr;
  std::vector<InputResult> results;
  Callback<std::vector<InputResult>> done;
};

void CallStore::GetInputs(Tenant* tenant, std::vector<CallId> call_ids, uint64_t bytes_max,
                          Callback<std::vector<InputResult>> done, PayloadTaker* taker) {
  auto job = std::make_shared<GetJob>();
  job->tenant = tenant;
  job->bytes_max = bytes_max;
  job->taker = taker;
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
    if (!call.status.ok()) return {};
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
    if (bytes + stored.size_bytes > job->bytes_max) continue;
    if (!Take(job->taker, *job->tenant, stored)) {
      answer = InputResult{.status = NoRoomError()};
      continue;
    }
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
    if (job->taker != nullptr) job->taker->Return(items[i].stored.slot.generation);
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

bool CallStore::Take(PayloadTaker* taker, const Tenant& tenant, const StoredPayload& stored) {
  if (taker == nullptr) return true;
  return taker->Take(
      {.generation = stored.slot.generation,
       .held_bytes = stored.size_bytes,
       .until_ms = ReadableUntilMs(stored, RetentionContext(tenant, time_->Read()))});
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

}  // namespace mayfly
