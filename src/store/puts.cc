#include "store/puts.h"

#include <optional>
#include <utility>

#include "base/error.h"

namespace mayfly {
namespace {

StoredPayload& PayloadOf(Request* request) {
  if (auto* const input = std::get_if<PutInput>(&request->operation)) return input->payload;
  return std::get<PutOutput>(request->operation).payload;
}

uint64_t RowBytesOf(const std::vector<NewPut>& puts) {
  uint64_t bytes = 0;
  for (const NewPut& put : puts) bytes += Quota::RowBytesOf(put.payload);
  return bytes;
}

}  // namespace

struct Puts::Job {
  struct Submitted {
    size_t index = 0;  // in results
    CallKey key;
    std::optional<SlotRef> slot;  // none when nothing was sealed
    uint32_t segment_count = 0;
  };
  std::vector<PutResult> results;
  std::vector<Submitted> submitted;  // in the order of the batch
  Callback<std::vector<PutResult>> done;
};

void Puts::Put(Tenant* tenant, std::vector<NewPut> puts, Callback<std::vector<PutResult>> done) {
  auto job = std::make_shared<Job>();
  job->results.resize(puts.size());
  job->done = std::move(done);
  auto finish = [this, job](std::vector<OperationResult> results) {
    Finish(job.get(), std::move(results));
  };
  absl::Status refusal = router_.is_draining() ? DrainingError() : absl::OkStatus();
  QueueLease queue;
  if (refusal.ok()) {
    queue = context_.quota.ReserveQueue(puts.size(), RowBytesOf(puts));
    if (queue.empty()) refusal = QueueRoom::Refusal();
  }
  if (!refusal.ok()) {
    for (PutResult& result : job->results) result.status = refusal;
    return router_.RunLater([finish] { finish({}); });
  }

  std::vector<SlotLease> leases;
  std::vector<Reservation> reservations = Reserve(tenant, puts, &leases);
  const int64_t now_ms = context_.time.Read().steady_ms;
  std::vector<Request> requests;
  std::vector<SlotRef> unused;
  requests.reserve(puts.size());
  job->submitted.reserve(puts.size());
  size_t lease_count = 0;
  for (size_t i = 0; i < puts.size(); ++i) {
    Job::Submitted submitted{.index = i};
    Request request = MakeRequest(tenant, puts[i], now_ms, std::move(reservations[i]));
    if (!request.content->reservation.is_refused()) {
      SlotLease& lease = leases[lease_count++];
      submitted.slot = lease.ref;
      absl::Status& status = job->results[i].status = Seal(puts[i], &lease, &request);
      if (!status.ok()) {
        unused.push_back(lease.ref);
        continue;
      }
    }
    submitted.key = request.key;
    submitted.segment_count = PayloadOf(&request).segment_count;
    job->submitted.push_back(submitted);
    request.index = requests.size();
    requests.push_back(std::move(request));
  }
  if (!unused.empty()) context_.storage.ReturnSlots(unused);

  if (requests.empty()) return router_.RunLater([finish] { finish({}); });
  auto batch = router_.MakeBatch(requests.size(), std::move(queue), finish);
  for (Request& request : requests) request.batch = batch;
  router_.Submit(std::move(requests));
}

std::vector<Reservation> Puts::Reserve(Tenant* tenant, const std::vector<NewPut>& puts,
                                       std::vector<SlotLease>* leases) {
  std::vector<Reservation> reservations;
  reservations.reserve(puts.size());
  size_t slot_count = 0;
  for (const NewPut& put : puts) {
    reservations.push_back(context_.quota.ReservePut(tenant, put.kind, put.payload));
    if (!reservations.back().is_refused()) ++slot_count;
  }
  if (slot_count == 0) return reservations;
  auto slots = context_.storage.ReserveSlots(slot_count);
  if (slots.ok()) {
    *leases = *std::move(slots);
    return reservations;
  }
  for (Reservation& reservation : reservations) {
    if (!reservation.is_refused()) reservation = Reservation(slots.status());
  }
  return reservations;
}

Request Puts::MakeRequest(Tenant* tenant, const NewPut& put, int64_t now_ms,
                          Reservation reservation) {
  const StoredPayload stored{.attempt = put.attempt,
                             .size_bytes = put.payload.data.size(),
                             .stored_ms = now_ms,
                             .deadline_ms = now_ms + put.ttl_ms};
  Request request;
  request.tenant = tenant;
  request.key = {.id = put.call_id, .tenant = tenant->number};
  if (put.kind == PayloadKind::kInput) {
    request.operation = PutInput{.id_time_ms = put.call_id.time_ms(), .payload = stored};
  } else {
    request.operation = PutOutput{.payload = stored};
  }
  request.content = std::make_unique<PutContent>();
  request.content->metadata = put.payload.metadata;
  request.content->size_bytes = stored.size_bytes;
  request.content->reservation = std::move(reservation);
  return request;
}

absl::Status Puts::Seal(const NewPut& put, SlotLease* lease, Request* request) {
  StoredPayload& stored = PayloadOf(request);
  stored.slot = lease->ref;
  const auto write_segment = [&](uint32_t number, const Sealed& segment) {
    return context_.storage.WriteSegment(request->key, stored.slot, number, stored.deadline_ms,
                                         segment);
  };
  auto row = context_.cipher.SealPayload(request->key, put.kind, lease->secret, put.payload,
                                         write_segment, &stored);
  if (!row.ok()) {
    if (stored.segment_count > 0) {
      context_.failure.Report(context_.storage.RemoveSegments(
          {.key = request->key, .slot = stored.slot, .count = stored.segment_count}));
    }
    return row.status();
  }
  request->content->secret = std::move(lease->secret);
  request->content->row = *std::move(row);
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
    if (!submitted.slot.has_value() || result.is_uncertain) continue;
    const bool is_stored = result.payload && result.payload->slot == *submitted.slot;
    if (is_stored) continue;
    unused.push_back(*submitted.slot);
    if (submitted.segment_count == 0) continue;
    context_.failure.Report(context_.storage.RemoveSegments(
        {.key = submitted.key, .slot = *submitted.slot, .count = submitted.segment_count}));
  }
  if (!unused.empty()) context_.storage.ReturnSlots(unused);
  job->done(std::move(job->results));
}

}  // namespace mayfly
