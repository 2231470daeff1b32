#include "store/puts.h"

#include <utility>

#include "base/error.h"

namespace mayfly {
namespace {

const StoredPayload& PayloadOf(const Request& request) { return *PayloadOf(request.operation); }

}  // namespace

struct Puts::Job {
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

void Puts::Put(Tenant* tenant, std::vector<NewPut> puts, Callback<std::vector<PutResult>> done) {
  auto job = std::make_shared<Job>();
  job->results.resize(puts.size());
  job->done = std::move(done);
  absl::Status refusal = router_.is_draining() ? DrainingError() : absl::OkStatus();
  std::vector<SlotLease> leases;
  if (refusal.ok()) {
    auto reserved = context_.storage.ReserveSlots(puts.size());
    if (reserved.ok()) leases = *std::move(reserved);
    refusal = reserved.status();
  }
  const int64_t now_ms = context_.time.Read().steady_ms;
  std::vector<Request> requests;
  std::vector<SlotRef> unused;
  for (size_t i = 0; i < puts.size(); ++i) {
    absl::Status& status = job->results[i].status = refusal;
    if (!status.ok()) continue;
    const SlotRef slot = leases[i].ref;
    Request request;
    status = Seal(tenant, puts[i], &leases[i], now_ms, &request);
    if (!status.ok()) {
      unused.push_back(slot);
      continue;
    }
    job->submitted.push_back({.index = i,
                              .key = request.key,
                              .payload = PayloadOf(request),
                              .has_room = !request.content->room.empty()});
    request.index = requests.size();
    requests.push_back(std::move(request));
  }
  if (!unused.empty()) context_.storage.ReturnSlots(unused);

  auto finish = [this, job](std::vector<OperationResult> results) {
    Finish(job.get(), std::move(results));
  };
  if (requests.empty()) return router_.RunLater([finish] { finish({}); });
  auto batch = router_.MakeBatch(requests.size(), finish);
  for (Request& request : requests) request.batch = batch;
  router_.Submit(std::move(requests));
}

uint64_t Puts::RoomFor(const NewPayload& payload) {
  const uint64_t data_bytes = payload.data.size();
  const uint64_t metadata_bytes = SizeOf(payload.metadata);
  if (data_bytes <= kInlineBytesMax) return RoomBudget::CostOfRow(data_bytes + metadata_bytes);
  const uint64_t segment_count = (data_bytes - 1) / kSegmentBytes + 1;
  return RoomBudget::CostOfSegment(data_bytes) +
         (segment_count - 1) * RoomBudget::CostOfSegment(0) + RoomBudget::CostOfRow(metadata_bytes);
}

absl::Status Puts::Seal(Tenant* tenant, const NewPut& put, SlotLease* lease, int64_t now_ms,
                        Request* request) {
  const CallKey key{.id = put.call_id, .tenant = tenant->number};
  StoredPayload stored{.slot = lease->ref,
                       .attempt = put.attempt,
                       .size_bytes = put.payload.data.size(),
                       .stored_ms = now_ms,
                       .deadline_ms = now_ms + put.ttl_ms};
  RoomLease room = context_.storage.ReserveRoom(RoomFor(put.payload));
  const auto write_segment = [&](uint32_t number, const Sealed& segment) {
    if (room.empty()) return absl::OkStatus();
    return context_.storage.WriteSegment(key, stored.slot, number, segment);
  };
  auto row = context_.cipher.SealPayload(key, put.kind, lease->secret, put.payload, write_segment,
                                         &stored);
  // Segments of a slot that is never committed are orphans, which upkeep removes.
  RETURN_IF_ERROR(row.status());
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

void Puts::Finish(Job* job, std::vector<OperationResult> results) {
  std::vector<SlotRef> unused;
  for (size_t i = 0; i < results.size(); ++i) {
    const Job::Submitted& submitted = job->submitted[i];
    OperationResult& result = results[i];
    PutResult& answer = job->results[submitted.index];
    answer.status = std::move(result.status);
    if (result.payload) answer.deadline_ms = result.payload->deadline_ms;
    const bool is_stored = result.payload && result.payload->slot == submitted.payload.slot;
    if (is_stored || result.is_uncertain) continue;
    unused.push_back(submitted.payload.slot);
    if (submitted.payload.segment_count == 0 || !submitted.has_room) continue;
    context_.failure.Report(
        context_.storage.RemoveSegments({.key = submitted.key,
                                         .slot = submitted.payload.slot,
                                         .count = submitted.payload.segment_count}));
  }
  if (!unused.empty()) context_.storage.ReturnSlots(unused);
  job->done(std::move(job->results));
}

}  // namespace mayfly
