#include "rpc/answer.h"

#include <utility>

#include "base/check.h"
#include "rpc/status.h"

namespace mayfly {
namespace {

void WriteMetadata(PayloadMetadata&& metadata, v1::Payload* wire) {
  wire->set_content_type(std::move(metadata.content_type));
  wire->set_encryption_key_id(std::move(metadata.encryption_key_id));
  for (auto& [name, value] : metadata.labels) (*wire->mutable_labels())[name] = std::move(value);
  wire->set_crc32c(metadata.crc32c);
}

void WritePayload(Payload&& payload, v1::Payload* wire) {
  wire->set_data(std::move(payload.data));
  WriteMetadata(std::move(payload.metadata), wire);
}

// Writes the status. Returns whether the answer has more to write.
template <typename Result>
bool WriteStatus(const absl::Status& status, Log* log, Result* result) {
  *result->mutable_status() = ToWireStatus(status, log);
  return status.ok();
}

template <typename Result>
void WritePut(const PutResult& answer, Log* log, Result* result) {
  if (!WriteStatus(answer.status, log, result)) return;
  WriteDeadline(answer.deadline_ms, result);
}

template <typename Result>
void WriteEnd(const EndResult& answer, Log* log, Result* result) {
  if (!WriteStatus(answer.status, log, result)) return;
  WriteTime(answer.ended_ms, result->mutable_erase_time());
}

v1::CallState CallStateOf(CallPhase phase) {
  switch (phase) {
    case CallPhase::kUnknown:
      return v1::CALL_STATE_UNKNOWN;
    case CallPhase::kPending:
      return v1::CALL_STATE_PENDING;
    case CallPhase::kReady:
      return v1::CALL_STATE_READY;
    case CallPhase::kClaimed:
      return v1::CALL_STATE_CLAIMED;
    case CallPhase::kConsumed:
      return v1::CALL_STATE_CONSUMED;
    case CallPhase::kDeleted:
      return v1::CALL_STATE_DELETED;
    case CallPhase::kExpired:
      return v1::CALL_STATE_EXPIRED;
  }
  return v1::CALL_STATE_UNSPECIFIED;
}

void WriteDescription(const StoredPayload& payload, v1::PayloadDescription* wire) {
  wire->set_size_bytes(payload.size_bytes);
  WriteTime(payload.stored_ms, wire->mutable_stored_time());
  WriteTime(payload.deadline_ms, wire->mutable_deadline_time());
  wire->set_attempt(payload.attempt);
}

}  // namespace

void WriteTime(int64_t unix_ms, google::protobuf::Timestamp* time) {
  Check(unix_ms >= 0, "times lie after 1970");
  time->set_seconds(unix_ms / 1000);
  time->set_nanos(static_cast<int32_t>(unix_ms % 1000 * 1'000'000));
}

void WriteDownloadHeader(const Download& download, v1::DownloadHeader* header) {
  const StoredPayload& stored = download.stored();
  WriteMetadata(PayloadMetadata(download.metadata()), header->mutable_payload());
  header->set_size_bytes(stored.size_bytes);
  WriteTime(stored.deadline_ms, header->mutable_deadline_time());
  header->set_attempt(stored.attempt);
  header->set_outcome(static_cast<v1::Outcome>(download.metadata().outcome));
}

void WriteResult(InputResult&& answer, Log* log, v1::GetInputResult* result) {
  if (!WriteStatus(answer.status, log, result)) return;
  result->set_size_bytes(answer.size_bytes);
  WriteTime(answer.deadline_ms, result->mutable_deadline_time());
  if (answer.payload) WritePayload(*std::move(answer.payload), result->mutable_payload());
}

void WriteResult(PutResult&& answer, Log* log, v1::PutInputResult* result) {
  WritePut(answer, log, result);
}

void WriteResult(PutResult&& answer, Log* log, v1::PutOutputResult* result) {
  WritePut(answer, log, result);
}

void WriteResult(EndResult&& answer, Log* log, v1::AckResult* result) {
  WriteEnd(answer, log, result);
}

void WriteResult(EndResult&& answer, Log* log, v1::DeleteResult* result) {
  WriteEnd(answer, log, result);
}

void WriteResult(RenewResult&& answer, Log* log, v1::RenewResult* result) {
  if (!WriteStatus(answer.status, log, result)) return;
  WriteTime(answer.lease_end_ms, result->mutable_lease_end_time());
}

void WriteResult(absl::Status&& answer, Log* log, v1::ReleaseResult* result) {
  WriteStatus(answer, log, result);
}

void WriteResult(DescribeResult&& answer, Log* log, v1::CallDescription* result) {
  if (!WriteStatus(answer.status, log, result)) return;
  result->set_state(CallStateOf(answer.phase));
  if (answer.input) WriteDescription(*answer.input, result->mutable_input());
  if (answer.output) WriteDescription(*answer.output, result->mutable_output());
  if (answer.lease_end_ms != 0) WriteTime(answer.lease_end_ms, result->mutable_lease_end_time());
  if (answer.ended_ms != 0) WriteTime(answer.ended_ms, result->mutable_end_time());
}

void WriteClaimedOutput(ClaimedOutput&& output, v1::ClaimedOutput* result) {
  result->set_call_id(output.call_id.ToString());
  result->set_attempt(output.stored.attempt);
  result->set_size_bytes(output.stored.size_bytes);
  result->set_fence(output.fence);
  result->set_acked(output.acked);
  if (!output.acked) WriteTime(output.lease_end_ms, result->mutable_lease_end_time());
  if (!output.payload) return;
  result->set_outcome(static_cast<v1::Outcome>(output.payload->metadata.outcome));
  WritePayload(*std::move(output.payload), result->mutable_payload());
}

void WriteEndedCall(const EndedCall& call, Log* log, v1::EndedCall* result) {
  result->set_call_id(call.call_id.ToString());
  WriteStatus(call.status, log, result);
}

}  // namespace mayfly
