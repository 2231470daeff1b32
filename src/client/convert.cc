#include "client/convert.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "base/crc32c.h"
#include "base/error.h"

namespace mayfly::client {
namespace {

// Values of later versions read as the most general of today.
template <typename Enum>
Enum InRange(int value, Enum last, Enum otherwise) {
  return value >= 1 && value <= static_cast<int>(last) ? static_cast<Enum>(value) : otherwise;
}

std::string NameWithoutPrefix(const std::string& name, size_t prefix_size) {
  return name.substr(prefix_size);
}

PayloadDescription Read(const v1::PayloadDescription& description) {
  return {.size_bytes = description.size_bytes(),
          .stored = FromProto(description.stored_time()),
          .deadline = FromProto(description.deadline_time()),
          .attempt = description.attempt()};
}

}  // namespace

std::string ToString(Outcome outcome) {
  return NameWithoutPrefix(v1::Outcome_Name(static_cast<v1::Outcome>(outcome)),
                           sizeof("OUTCOME_") - 1);
}

std::string ToString(CallState state) {
  return NameWithoutPrefix(v1::CallState_Name(static_cast<v1::CallState>(state)),
                           sizeof("CALL_STATE_") - 1);
}

absl::Duration FromProto(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

absl::Time FromProto(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

void ToProto(absl::Duration duration, google::protobuf::Duration* out) {
  absl::Duration rest;
  out->set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &rest));
  out->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(rest)));
}

void ToProto(Payload payload, v1::Payload* out) {
  out->set_crc32c(Crc32c(AsBytes(payload.data)));
  out->set_data(std::move(payload.data));
  out->set_content_type(std::move(payload.content_type));
  out->set_encryption_key_id(std::move(payload.encryption_key_id));
  for (auto& [name, value] : payload.labels) (*out->mutable_labels())[name] = std::move(value);
}

absl::StatusOr<Payload> FromProto(v1::Payload* payload) {
  if (payload->has_crc32c() && Crc32c(AsBytes(payload->data())) != payload->crc32c()) {
    return MakeError(absl::StatusCode::kDataLoss, Reason::kChecksumMismatch,
                     absl::StrCat("the payload of ", payload->data().size(),
                                  " bytes arrived without the crc32c that came with it"));
  }
  Payload result = WithoutData(payload);
  result.data = std::move(*payload->mutable_data());
  return result;
}

Payload WithoutData(v1::Payload* payload) {
  return Payload{.data = "",
                 .content_type = std::move(*payload->mutable_content_type()),
                 .labels = {payload->labels().begin(), payload->labels().end()},
                 .encryption_key_id = std::move(*payload->mutable_encryption_key_id())};
}

Outcome OutcomeFromProto(v1::Outcome outcome) {
  return InRange(outcome, Outcome::kCancelled, Outcome::kFailure);
}

void ToProto(Input input, v1::InputItem* out) {
  out->set_call_id(std::move(input.call_id));
  ToProto(std::move(input.payload), out->mutable_payload());
  if (input.ttl != absl::ZeroDuration()) ToProto(input.ttl, out->mutable_ttl());
}

void ToProto(Output output, v1::OutputItem* out) {
  out->set_call_id(std::move(output.call_id));
  out->set_attempt(output.attempt);
  out->set_outcome(static_cast<v1::Outcome>(output.outcome));
  ToProto(std::move(output.payload), out->mutable_payload());
  if (output.ttl != absl::ZeroDuration()) ToProto(output.ttl, out->mutable_ttl());
}

absl::StatusOr<ClaimedOutput> FromProto(const std::string& token, v1::ClaimedOutput* output) {
  const bool data_omitted = !output->has_payload();
  std::optional<uint32_t> crc32c;
  if (!data_omitted) crc32c = Crc32c(AsBytes(output->payload().data()));
  absl::StatusOr<Payload> payload = FromProto(output->mutable_payload());
  RETURN_IF_ERROR(payload.status());
  return ClaimedOutput{.claim = {.call_id = output->call_id(),
                                 .token = token,
                                 .fence = output->fence(),
                                 .crc32c = crc32c},
                       .attempt = output->attempt(),
                       .outcome = OutcomeFromProto(output->outcome()),
                       .payload = *std::move(payload),
                       .size_bytes = output->size_bytes(),
                       .data_omitted = data_omitted,
                       .lease_end = output->has_lease_end_time()
                                        ? FromProto(output->lease_end_time())
                                        : absl::InfinitePast(),
                       .acked = output->acked()};
}

CallDescription FromProto(const v1::CallDescription& description) {
  CallDescription result{
      .call_id = description.call_id(),
      .state = InRange(description.state(), CallState::kUnknown, CallState::kUnknown),
      .input = std::nullopt,
      .output = std::nullopt,
      .lease_end = std::nullopt,
      .end = std::nullopt};
  if (description.has_input()) result.input = Read(description.input());
  if (description.has_output()) result.output = Read(description.output());
  if (description.has_lease_end_time()) result.lease_end = FromProto(description.lease_end_time());
  if (description.has_end_time()) result.end = FromProto(description.end_time());
  return result;
}

ServerInfo FromProto(const v1::GetServerInfoResponse& info) {
  const v1::ServerLimits& limits = info.limits();
  return {.version = info.version(),
          .time = FromProto(info.server_time()),
          .tenant = info.tenant(),
          .role = info.role(),
          .limits = {.id_window = FromProto(limits.id_window()),
                     .default_ttl = FromProto(limits.default_ttl()),
                     .max_ttl = FromProto(limits.max_ttl()),
                     .tombstone_ttl = FromProto(limits.tombstone_ttl()),
                     .wait_max = FromProto(limits.wait_max()),
                     .lease_default = FromProto(limits.lease_default()),
                     .lease_max = FromProto(limits.lease_max()),
                     .lease_total_max = FromProto(limits.lease_total_max()),
                     .upload_idle_timeout = FromProto(limits.upload_idle_timeout()),
                     .payload_bytes_max = limits.payload_bytes_max(),
                     .message_bytes_max = limits.message_bytes_max(),
                     .batch_items_max = limits.batch_items_max(),
                     .stream_subscriptions_max = limits.stream_subscriptions_max(),
                     .live_calls_max = limits.live_calls_max(),
                     .live_bytes_max = limits.live_bytes_max(),
                     .operations_per_second_max = limits.operations_per_second_max(),
                     .claims_max = limits.claims_max(),
                     .uploads_max = limits.uploads_max()}};
}

}  // namespace mayfly::client
