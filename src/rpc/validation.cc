#include "rpc/validation.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/crc32c.h"
#include "base/error.h"
#include "crypto/random.h"

namespace mayfly {
namespace {

constexpr uint64_t kContentTypeBytesMax = 255;
constexpr uint64_t kEncryptionKeyIdBytesMax = 255;
constexpr uint64_t kLabelsMax = 16;
constexpr uint64_t kLabelNameBytesMax = 63;
constexpr uint64_t kLabelBytesMax = 1024;  // names and values of a payload together
constexpr uint64_t kClaimCountLimit = 512;
constexpr absl::Duration kTtlMin = absl::Seconds(1);
constexpr absl::Duration kLeaseMin = absl::Seconds(1);
// google/protobuf/duration.proto
constexpr int64_t kProtoSecondsMax = 315'576'000'000;
constexpr int32_t kProtoNanosMax = 999'999'999;

struct DurationRange {
  absl::Duration min;
  absl::Duration max;
};

std::string NameOf(const FieldPlace& place) {
  return absl::StrCat(place.list, "[", place.index, "]");
}

// The same error about a field of the item at `place`.
absl::Status At(const FieldPlace& place, const absl::Status& error) {
  return MakeError(error.code(), ReasonOf(error),
                   absl::StrCat(NameOf(place), ".", error.message()));
}

bool IsProtoDuration(const google::protobuf::Duration& duration) {
  const int64_t seconds = duration.seconds();
  const int32_t nanos = duration.nanos();
  return seconds >= -kProtoSecondsMax && seconds <= kProtoSecondsMax && nanos >= -kProtoNanosMax &&
         nanos <= kProtoNanosMax && (seconds == 0 || nanos == 0 || (seconds < 0) == (nanos < 0));
}

absl::StatusOr<int64_t> ReadDurationMs(absl::string_view field,
                                       const google::protobuf::Duration& wire,
                                       const DurationRange& range) {
  const std::string wants = absl::StrCat("range is ", absl::FormatDuration(range.min), " to ",
                                         absl::FormatDuration(range.max));
  if (!IsProtoDuration(wire)) return FieldError(field, "no google.protobuf.Duration", wants);
  const absl::Duration duration = absl::Seconds(wire.seconds()) + absl::Nanoseconds(wire.nanos());
  if (duration < range.min || duration > range.max) {
    return FieldError(field, absl::FormatDuration(duration), wants);
  }
  return absl::ToInt64Milliseconds(duration);
}

// For counts whose 0 stands for a default.
absl::Status CheckCount(absl::string_view field, uint64_t value, uint64_t max) {
  if (value <= max) return absl::OkStatus();
  return FieldError(field, absl::StrCat(value), absl::StrCat("range is 1 to ", max));
}

absl::Status CheckSize(absl::string_view field, uint64_t bytes, uint64_t bytes_max) {
  if (bytes <= bytes_max) return absl::OkStatus();
  return FieldError(field, absl::StrCat(bytes, " bytes"), absl::StrCat("limit is ", bytes_max));
}

absl::StatusOr<int64_t> ReadTtlMs(bool given, const google::protobuf::Duration& ttl,
                                  const Config::TenantRetention& retention) {
  if (!given) return absl::ToInt64Milliseconds(retention.default_ttl);
  return ReadDurationMs("ttl", ttl, {.min = kTtlMin, .max = retention.max_ttl});
}

absl::StatusOr<ClaimToken> ReadToken(const std::string& wire) {
  ClaimToken token;
  if (wire.size() != token.size()) {
    return FieldError("claim_token", absl::StrCat(wire.size(), " bytes"),
                      absl::StrCat("must be ", token.size()));
  }
  std::copy(wire.begin(), wire.end(), token.begin());
  return token;
}

absl::Status ReadLabels(const v1::Payload& payload, PayloadMetadata* metadata) {
  if (payload.labels().size() > kLabelsMax) {
    return FieldError("payload.labels", absl::StrCat(payload.labels().size(), " labels"),
                      absl::StrCat("limit is ", kLabelsMax));
  }
  uint64_t bytes = 0;
  for (const auto& [name, value] : payload.labels()) {
    if (name.empty() || name.size() > kLabelNameBytesMax) {
      return FieldError("payload.labels: a name", absl::StrCat(name.size(), " bytes"),
                        absl::StrCat("range is 1 to ", kLabelNameBytesMax));
    }
    bytes += name.size() + value.size();
    metadata->labels.emplace_back(name, value);
  }
  RETURN_IF_ERROR(CheckSize("payload.labels", bytes, kLabelBytesMax));
  // A map has no order, and equal payloads must have equal fingerprints.
  std::sort(metadata->labels.begin(), metadata->labels.end());
  return absl::OkStatus();
}

absl::StatusOr<NewPayload> ReadPayload(const v1::Payload& payload, const Config& config) {
  if (payload.data().size() > config.limits.payload_bytes_max) {
    return LimitError(Reason::kPayloadTooLarge, "payload.data", payload.data().size(),
                      config.limits.payload_bytes_max, "bytes");
  }
  RETURN_IF_ERROR(
      CheckSize("payload.content_type", payload.content_type().size(), kContentTypeBytesMax));
  RETURN_IF_ERROR(CheckSize("payload.encryption_key_id", payload.encryption_key_id().size(),
                            kEncryptionKeyIdBytesMax));
  NewPayload read;
  RETURN_IF_ERROR(ReadLabels(payload, &read.metadata));
  read.data = payload.data();
  read.metadata.content_type = payload.content_type();
  read.metadata.encryption_key_id = payload.encryption_key_id();
  read.metadata.crc32c = Crc32c(AsBytes(read.data));
  if (payload.has_crc32c() && payload.crc32c() != read.metadata.crc32c) {
    return MakeError(absl::StatusCode::kInvalidArgument, Reason::kChecksumMismatch,
                     absl::StrCat("payload.crc32c is not that of the ", read.data.size(),
                                  " bytes of payload.data"));
  }
  return read;
}

CallId MintCallId(Clock* clock) {
  std::array<uint8_t, 10> random;
  FillRandom(absl::MakeSpan(random));
  return CallId::Mint(clock->Read().wall, random);
}

absl::StatusOr<Outcome> ReadOutcome(v1::Outcome outcome) {
  if (!v1::Outcome_IsValid(outcome)) {
    return FieldError("outcome", absl::StrCat(static_cast<int>(outcome)), "is not known");
  }
  if (outcome == v1::OUTCOME_UNSPECIFIED) return Outcome::kSuccess;
  return static_cast<Outcome>(outcome);
}

absl::StatusOr<NewInput> ReadInput(const v1::InputItem& item, const ValidationLimits& limits) {
  NewInput input;
  auto ttl_ms = ReadTtlMs(item.has_ttl(), item.ttl(), *limits.retention);
  RETURN_IF_ERROR(ttl_ms.status());
  input.ttl_ms = *ttl_ms;
  auto payload = ReadPayload(item.payload(), *limits.config);
  RETURN_IF_ERROR(payload.status());
  input.payload = *std::move(payload);
  return input;
}

absl::StatusOr<NewOutput> ReadOutput(const v1::OutputItem& item, const ValidationLimits& limits) {
  NewOutput output;
  output.attempt = std::max(item.attempt(), uint32_t{1});
  auto ttl_ms = ReadTtlMs(item.has_ttl(), item.ttl(), *limits.retention);
  RETURN_IF_ERROR(ttl_ms.status());
  output.ttl_ms = *ttl_ms;
  const auto outcome = ReadOutcome(item.outcome());
  RETURN_IF_ERROR(outcome.status());
  auto payload = ReadPayload(item.payload(), *limits.config);
  RETURN_IF_ERROR(payload.status());
  output.payload = *std::move(payload);
  output.payload.metadata.outcome = *outcome;
  return output;
}

template <typename Item>
absl::StatusOr<ClaimRef> ReadClaimRef(const Item& item, const FieldPlace& place) {
  ClaimRef claim;
  const auto call_id = ReadCallId(item.call_id(), place);
  RETURN_IF_ERROR(call_id.status());
  claim.call_id = *call_id;
  const auto token = ReadToken(item.claim_token());
  if (!token.ok()) return At(place, token.status());
  claim.token = *token;
  claim.fence = item.fence();
  return claim;
}

}  // namespace

absl::StatusOr<CallId> ReadCallId(const std::string& text, const FieldPlace& place) {
  auto call_id = CallId::Parse(text);
  if (call_id.ok()) return call_id;
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kFieldInvalid,
                   absl::StrCat(NameOf(place), ": ", call_id.status().message()));
}

absl::StatusOr<NewInput> ReadInputItem(const v1::InputItem& item, const FieldPlace& place,
                                       const ValidationLimits& limits, Clock* clock) {
  const auto call_id =
      item.call_id().empty() ? MintCallId(clock) : ReadCallId(item.call_id(), place);
  RETURN_IF_ERROR(call_id.status());
  auto input = ReadInput(item, limits);
  if (!input.ok()) return At(place, input.status());
  input->call_id = *call_id;
  return input;
}

absl::StatusOr<NewOutput> ReadOutputItem(const v1::OutputItem& item, const FieldPlace& place,
                                         const ValidationLimits& limits) {
  const auto call_id = ReadCallId(item.call_id(), place);
  RETURN_IF_ERROR(call_id.status());
  auto output = ReadOutput(item, limits);
  if (!output.ok()) return At(place, output.status());
  output->call_id = *call_id;
  return output;
}

absl::StatusOr<ClaimRef> ReadClaim(const v1::AckItem& item, const FieldPlace& place) {
  auto claim = ReadClaimRef(item, place);
  if (claim.ok() && item.has_crc32c()) claim->crc32c = item.crc32c();
  return claim;
}

absl::StatusOr<ClaimRef> ReadClaim(const v1::ReleaseItem& item, const FieldPlace& place) {
  return ReadClaimRef(item, place);
}

absl::StatusOr<ClaimRef> ReadClaim(const v1::RenewItem& item, const FieldPlace& place) {
  return ReadClaimRef(item, place);
}

absl::StatusOr<uint64_t> ReadMaxBytes(uint64_t max_bytes, const Config& config) {
  RETURN_IF_ERROR(CheckCount("max_bytes", max_bytes, kBytesMaxLimit));
  const uint64_t wanted = max_bytes == 0 ? kBytesMaxDefault : max_bytes;
  return std::min(wanted, config.limits.message_bytes_max - kMessageOverheadBytes);
}

absl::StatusOr<int64_t> ReadLeaseMs(bool given, const google::protobuf::Duration& lease,
                                    const Config& config) {
  if (!given) return absl::ToInt64Milliseconds(config.claims.lease_default);
  return ReadDurationMs("lease", lease, {.min = kLeaseMin, .max = config.claims.lease_max});
}

absl::StatusOr<ClaimRequest> ReadClaimRequest(const v1::ClaimOutputsRequest& request,
                                              const Config& config) {
  ClaimRequest read;
  RETURN_IF_ERROR(CheckCount("max_count", request.max_count(), kClaimCountLimit));
  read.count_max =
      request.max_count() == 0 ? static_cast<uint32_t>(kClaimCountLimit) : request.max_count();
  const auto bytes_max = ReadMaxBytes(request.max_bytes(), config);
  RETURN_IF_ERROR(bytes_max.status());
  read.bytes_max = *bytes_max;
  const auto wait_ms = ReadDurationMs("wait", request.wait(),
                                      {.min = absl::ZeroDuration(), .max = config.claims.wait_max});
  RETURN_IF_ERROR(wait_ms.status());
  read.wait_ms = *wait_ms;
  const auto lease_ms = ReadLeaseMs(request.has_lease(), request.lease(), config);
  RETURN_IF_ERROR(lease_ms.status());
  read.lease_ms = *lease_ms;
  const auto token = ReadToken(request.claim_token());
  RETURN_IF_ERROR(token.status());
  read.token = *token;
  if (!v1::AckMode_IsValid(request.ack_mode())) {
    return FieldError("ack_mode", absl::StrCat(static_cast<int>(request.ack_mode())),
                      "is not known");
  }
  read.ack_before_answer = request.ack_mode() == v1::ACK_MODE_AUTO;
  return read;
}

}  // namespace mayfly
