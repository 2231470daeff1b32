#include "store/reads.h"

#include <utility>

#include "base/error.h"
#include "call/apply.h"

namespace mayfly {

struct Reads::GetJob {
  Tenant* tenant = nullptr;
  std::vector<CallId> call_ids;
  uint64_t bytes_max = 0;
  PayloadTaker* taker = nullptr;
  std::vector<InputResult> results;
  Callback<std::vector<InputResult>> done;
};

void Reads::GetInputs(Tenant* tenant, std::vector<CallId> call_ids, uint64_t bytes_max,
                      Callback<std::vector<InputResult>> done, PayloadTaker* taker) {
  auto job = std::make_shared<GetJob>();
  job->tenant = tenant;
  job->bytes_max = bytes_max;
  job->taker = taker;
  job->results.resize(call_ids.size());
  job->call_ids = std::move(call_ids);
  job->done = std::move(done);
  if (router_.is_draining()) {
    for (InputResult& result : job->results) result.status = DrainingError();
    return router_.RunLater([job] { job->done(std::move(job->results)); });
  }
  std::vector<OperationResult> results = LookUpInputs(tenant, job->call_ids);
  if (!results.empty()) {
    router_.Begin();
    ReadInputs(std::move(job), std::move(results));
    return router_.End();
  }
  router_.SubmitEach(
      tenant, job->call_ids,
      [](const CallId& id) { return std::pair<CallId, Operation>(id, GetInput{}); },
      [this, job](std::vector<OperationResult> decided) { ReadInputs(job, std::move(decided)); });
}

std::vector<OperationResult> Reads::LookUpInputs(Tenant* tenant,
                                                 const std::vector<CallId>& call_ids) {
  std::vector<CallKey> keys;
  keys.reserve(call_ids.size());
  for (const CallId& id : call_ids) keys.push_back({.id = id, .tenant = tenant->number});
  std::vector<LoadedCall> calls(keys.size());
  context_.storage.Peek(keys, absl::MakeSpan(calls));
  const ApplyContext context = RetentionContext(*tenant, context_.time.Read());
  std::vector<OperationResult> results;
  results.reserve(calls.size());
  for (const LoadedCall& call : calls) {
    if (!call.status.ok()) return {};
    results.push_back(Apply(call.state, GetInput{}, context).result);
    if (!results.back().status.ok()) return {};
  }
  return results;
}

void Reads::ReadInputs(std::shared_ptr<GetJob> job, std::vector<OperationResult> results) {
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
  std::vector<Question> questions;
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
    questions.emplace_back(items[i].key.id, GetInput{});
  }
  ExplainMissing(job->tenant, std::move(questions),
                 [job, ended_places](std::vector<absl::Status> reasons) {
                   for (size_t i = 0; i < reasons.size(); ++i) {
                     job->results[ended_places[i]].status = std::move(reasons[i]);
                   }
                   job->done(std::move(job->results));
                 });
}

absl::StatusOr<uint32_t> Reads::ReadCrc32c(Tenant* tenant, const ReadItem& item) {
  const PayloadRef ref = {.key = item.key, .kind = PayloadKind::kOutput, .slot = item.stored.slot};
  const std::vector<absl::StatusOr<Sealed>> rows = context_.storage.ReadRows({&ref, 1});
  if (item.stored.segment_count == 0) {
    const auto payload = OpenRow(tenant, PayloadKind::kOutput, item, rows[0]);
    RETURN_IF_ERROR(payload.status());
    return payload->metadata.crc32c;
  }
  RETURN_IF_ERROR(rows[0].status());
  const auto secret = context_.storage.ReadSecret(item.stored.slot);
  RETURN_IF_ERROR(secret.status());
  const auto header =
      context_.cipher.OpenHeader(item.key, PayloadKind::kOutput, item.stored, *secret, *rows[0]);
  RETURN_IF_ERROR(header.status());
  return header->metadata.crc32c;
}

bool Reads::Take(PayloadTaker* taker, const Tenant& tenant, const StoredPayload& stored) {
  if (taker == nullptr) return true;
  return taker->Take(
      {.generation = stored.slot.generation,
       .held_bytes = stored.size_bytes,
       .until_ms = ReadableUntilMs(stored, RetentionContext(tenant, context_.time.Read()))});
}

void Reads::ReadPayloads(Tenant* tenant, PayloadKind kind, std::vector<ReadItem>* items) {
  std::vector<PayloadRef> refs;
  refs.reserve(items->size());
  for (const ReadItem& item : *items) {
    refs.push_back({.key = item.key, .kind = kind, .slot = item.stored.slot});
  }
  const std::vector<absl::StatusOr<Sealed>> rows = context_.storage.ReadRows(refs);
  for (size_t i = 0; i < items->size(); ++i) {
    ReadItem& item = (*items)[i];
    item.payload = OpenRow(tenant, kind, item, rows[i]);
  }
}

absl::StatusOr<Payload> Reads::OpenRow(Tenant* tenant, PayloadKind kind, const ReadItem& item,
                                       const absl::StatusOr<Sealed>& row) {
  RETURN_IF_ERROR(row.status());
  const auto secret = context_.storage.ReadSecret(item.stored.slot);
  RETURN_IF_ERROR(secret.status());
  // Time has passed since the rules decided, and a deadline is a deadline.
  const auto still_readable = [&] {
    return IsReadable(item.stored, RetentionContext(*tenant, context_.time.Read()));
  };
  const auto read_segment = [&](uint32_t number) -> absl::StatusOr<Sealed> {
    if (!still_readable()) return absl::NotFoundError("the payload is past its deadline");
    return context_.storage.ReadSegment(item.key, item.stored.slot, number);
  };
  auto payload =
      context_.cipher.OpenPayload(item.key, kind, item.stored, *secret, *row, read_segment);
  if (payload.ok() && !still_readable()) {
    return absl::NotFoundError("the payload is past its deadline");
  }
  return payload;
}

void Reads::ExplainMissing(Tenant* tenant, std::vector<Question> questions,
                           Callback<std::vector<absl::Status>> done) {
  router_.SubmitEach(
      tenant, questions, [](const Question& question) { return question; },
      [done = std::move(done)](std::vector<OperationResult> results) mutable {
        std::vector<absl::Status> reasons;
        for (OperationResult& result : results) {
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
