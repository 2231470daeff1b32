#include "rpc/validation.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/bound.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "rpc/range_check.h"

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
std::string NameOf(const FieldPlace& place) {
  if (place.index < 0) return std::string(place.list);
  return absl::StrCat(place.list, "[", place.index, "]");
}

absl::Status At(const FieldPlace& place, const absl::Status& error) {
  return InField(NameOf(place), error);
}

absl::StatusOr<int64_t> ReadTtlMs(bool given, const google::protobuf::Duration& ttl,
                                  const Config::TenantRetention& retention) {
  if (!given) return absl::ToInt64Milliseconds(retention.default_ttl);
  return ReadDurationMs("ttl", ttl, {.min = kTtlMin, .max = retention.max_ttl});
}

// `Bytes`: a type of 16 bytes.
template <typename Bytes>
absl::StatusOr<Bytes> Read16Bytes(absl::string_view field, const std::string& wire) {
  Bytes bytes;
  if (wire.size() != bytes.size()) {
    return WithBound(FieldError(field, absl::StrCat(wire.size(), " bytes"),
                                absl::StrCat("expected ", bytes.size())),
                     BoundOf(wire.size(), {bytes.size(), bytes.size(), "bytes"}));
  }
  std::copy(wire.begin(), wire.end(), bytes.begin());
  return bytes;
}

absl::StatusOr<ClaimToken> ReadToken(const std::string& wire) {
  return Read16Bytes<ClaimToken>("claim_token", wire);
}

absl::Status ReadLabels(const v1::Payload& payload, PayloadMetadata* metadata) {
  if (payload.labels().size() > kLabelsMax) {
    return WithBound(FieldError("payload.labels", absl::StrCat(payload.labels().size(), " labels"),
                                absl::StrCat("limit is ", kLabelsMax)),
                     BoundOf(payload.labels().size(), {.max = kLabelsMax, .unit = "labels"}));
  }
  uint64_t bytes = 0;
  for (const auto& [name, value] : payload.labels()) {
    if (name.empty() || name.size() > kLabelNameBytesMax) {
      const absl::Status error =
          FieldError("payload.labels: a name", absl::StrCat(name.size(), " bytes"),
                     absl::StrCat("range is 1 to ", kLabelNameBytesMax));
      return WithBound(WithMetadata(error, "field", "payload.labels"),
                       BoundOf(name.size(), {1, kLabelNameBytesMax, "bytes"}));
    }
    bytes += name.size() + value.size();
    metadata->labels.emplace_back(name, value);
  }
  RETURN_IF_ERROR(CheckSize("payload.labels", bytes, kLabelBytesMax));
  // Sort them: a map has no order, and equal payloads must have equal fingerprints.
  std::sort(metadata->labels.begin(), metadata->labels.end());
  return absl::OkStatus();
}

// Everything except the checksum.
absl::Status ReadMetadata(const v1::Payload& payload, PayloadMetadata* metadata) {
  RETURN_IF_ERROR(
      CheckSize("payload.content_type", payload.content_type().size(), kContentTypeBytesMax));
  RETURN_IF_ERROR(CheckSize("payload.encryption_key_id", payload.encryption_key_id().size(),
                            kEncryptionKeyIdBytesMax));
  RETURN_IF_ERROR(ReadLabels(payload, metadata));
  metadata->content_type = payload.content_type();
  metadata->encryption_key_id = payload.encryption_key_id();
  return absl::OkStatus();
}

absl::StatusOr<NewPayload> ReadPayload(const v1::Payload& payload, const Config& config) {
  if (payload.data().size() > config.limits.payload_bytes_max) {
    return LimitError(Reason::kPayloadTooLarge, "payload.data", payload.data().size(),
                      config.limits.payload_bytes_max, "bytes");
  }
  NewPayload read;
  RETURN_IF_ERROR(ReadMetadata(payload, &read.metadata));
  read.data = payload.data();
  read.metadata.crc32c = Crc32c(AsBytes(read.data));
  if (payload.has_crc32c() && payload.crc32c() != read.metadata.crc32c) {
    return MakeError(absl::StatusCode::kInvalidArgument, Reason::kChecksumMismatch,
                     absl::StrCat("payload.crc32c does not match the ", read.data.size(),
                                  " bytes of payload.data"));
  }
  return read;
}

// A payload that a client forgot must not become an empty one.
absl::Status MissingPayloadError() {
  return FieldError("payload", "missing", "expected a Payload, without data for an empty payload");
}

absl::StatusOr<Outcome> ReadOutcome(v1::Outcome outcome) {
  if (!v1::Outcome_IsValid(outcome)) {
    return FieldError("outcome", absl::StrCat(static_cast<int>(outcome)),
                      "expected an Outcome of the proto");
  }
  if (outcome == v1::OUTCOME_UNSPECIFIED) return Outcome::kSuccess;
  return static_cast<Outcome>(outcome);
}

absl::StatusOr<NewPut> ReadInput(const v1::InputItem& item, const ValidationLimits& limits) {
  NewPut input;
  input.kind = PayloadKind::kInput;
  auto ttl_ms = ReadTtlMs(item.has_ttl(), item.ttl(), *limits.retention);
  RETURN_IF_ERROR(ttl_ms.status());
  input.ttl_ms = *ttl_ms;
  auto payload = ReadPayload(item.payload(), *limits.config);
  RETURN_IF_ERROR(payload.status());
  input.payload = *std::move(payload);
  return input;
}

absl::StatusOr<NewPut> ReadOutput(const v1::OutputItem& item, const ValidationLimits& limits) {
  NewPut output;
  output.kind = PayloadKind::kOutput;
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

}  // namespace

absl::StatusOr<CallId> ReadCallId(const std::string& text, const FieldPlace& place) {
  auto call_id = CallId::Parse(text);
  if (call_id.ok()) return call_id;
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kFieldInvalid,
                   absl::StrCat(NameOf(place), ": ", call_id.status().message()));
}

namespace {

// Reads the fields that inputs and outputs share. The data is sent later; its checksum is not
// verified here.
template <typename Item>
absl::StatusOr<NewUpload> ReadUploadedItem(const Item& item, absl::string_view field,
                                           const ValidationLimits& limits) {
  const FieldPlace place = {.list = field};
  NewUpload upload;
  const auto call_id = ReadCallId(item.call_id(), place);
  RETURN_IF_ERROR(call_id.status());
  upload.call_id = *call_id;
  const auto ttl_ms = ReadTtlMs(item.has_ttl(), item.ttl(), *limits.retention);
  if (!ttl_ms.ok()) return At(place, ttl_ms.status());
  upload.ttl_ms = *ttl_ms;
  const v1::Payload& payload = item.payload();
  if (!payload.data().empty()) {
    return At(place, FieldError("payload.data", absl::StrCat(payload.data().size(), " bytes"),
                                "expected none: data is sent in segments"));
  }
  const absl::Status metadata = ReadMetadata(payload, &upload.metadata);
  if (!metadata.ok()) return At(place, metadata);
  upload.crc32c_is_known = payload.has_crc32c();
  upload.metadata.crc32c = payload.crc32c();
  return upload;
}

absl::StatusOr<NewUpload> ReadUploadedOutput(const v1::OutputItem& item,
                                             const ValidationLimits& limits) {
  auto upload = ReadUploadedItem(item, "header.output", limits);
  RETURN_IF_ERROR(upload.status());
  upload->kind = PayloadKind::kOutput;
  upload->attempt = std::max(item.attempt(), uint32_t{1});
  const auto outcome = ReadOutcome(item.outcome());
  if (!outcome.ok()) return At({.list = "header.output"}, outcome.status());
  upload->metadata.outcome = *outcome;
  return upload;
}

template <typename Item>
absl::StatusOr<ClaimRef> ReadClaimRef(const Item& item, const FieldPlace& place) {
  ClaimRef claim;
  const auto call_id = ReadCallId(item.call_id(), place);
  RETURN_IF_ERROR(call_id.status());
  claim.call_id = *call_id;
  claim.fence = item.fence();
  const auto token = ReadToken(item.claim_token());
  if (!token.ok()) return At(place, token.status());
  claim.token = *token;
  return claim;
}

}  // namespace

absl::StatusOr<NewPut> ReadInputItem(const v1::InputItem& item, const FieldPlace& place,
                                     const ValidationLimits& limits,
                                     absl::FunctionRef<CallId()> mint_call_id) {
  const auto call_id = item.call_id().empty() ? mint_call_id() : ReadCallId(item.call_id(), place);
  RETURN_IF_ERROR(call_id.status());
  auto input = item.has_payload() ? ReadInput(item, limits) : MissingPayloadError();
  if (!input.ok()) return At(place, input.status());
  input->call_id = *call_id;
  return input;
}

absl::StatusOr<NewPut> ReadOutputItem(const v1::OutputItem& item, const FieldPlace& place,
                                      const ValidationLimits& limits) {
  const auto call_id = ReadCallId(item.call_id(), place);
  RETURN_IF_ERROR(call_id.status());
  auto output = item.has_payload() ? ReadOutput(item, limits) : MissingPayloadError();
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

absl::StatusOr<UploadId> ReadUploadId(const std::string& upload_id) {
  return Read16Bytes<UploadId>("upload_id", upload_id);
}

absl::StatusOr<NewUpload> ReadUploadHeader(const v1::UploadHeader& header,
                                           const ValidationLimits& limits) {
  const auto id = ReadUploadId(header.upload_id());
  RETURN_IF_ERROR(id.status());
  absl::StatusOr<NewUpload> upload =
      FieldError("header.item", "not set", "expected input or output");
  if (header.has_input()) upload = ReadUploadedItem(header.input(), "header.input", limits);
  if (header.has_output()) upload = ReadUploadedOutput(header.output(), limits);
  RETURN_IF_ERROR(upload.status());
  upload->id = *id;
  upload->offset_bytes = header.offset_bytes();
  if (header.has_size_bytes()) upload->size_bytes = header.size_bytes();
  return upload;
}

absl::Status CheckUploadSegment(const v1::UploadSegment& segment) {
  if (!segment.data().empty() && segment.data().size() <= kSegmentBytes) return absl::OkStatus();
  return WithBound(FieldError("segment.data", absl::StrCat(segment.data().size(), " bytes"),
                              absl::StrCat("range is 1 to ", kSegmentBytes)),
                   BoundOf(segment.data().size(), {1, kSegmentBytes, "bytes"}));
}

absl::StatusOr<DownloadRequest> ReadDownloadRequest(const v1::DownloadRequest& request) {
  DownloadRequest read;
  const auto call_id = ReadCallId(request.call_id(), {.list = "call_id"});
  RETURN_IF_ERROR(call_id.status());
  read.call_id = *call_id;
  read.offset_bytes = request.offset_bytes();
  switch (request.kind()) {
    case v1::PAYLOAD_KIND_INPUT:
      return read;
    case v1::PAYLOAD_KIND_OUTPUT:
      break;
    default:
      return FieldError("kind", absl::StrCat(static_cast<int>(request.kind())),
                        "expected PAYLOAD_KIND_INPUT or PAYLOAD_KIND_OUTPUT");
  }
  read.kind = PayloadKind::kOutput;
  const auto token = ReadToken(request.claim_token());
  RETURN_IF_ERROR(token.status());
  read.token = *token;
  read.fence = request.fence();
  return read;
}

absl::StatusOr<uint64_t> ReadMaxBytes(uint64_t max_bytes, const Config& config) {
  RETURN_IF_ERROR(CheckCount("max_bytes", max_bytes, {1, kBytesMaxLimit, "bytes"}));
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
  RETURN_IF_ERROR(CheckCount("max_count", request.max_count(), {1, kClaimCountLimit, "outputs"}));
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
                      "expected an AckMode of the proto");
  }
  read.ack_before_answer = request.ack_mode() == v1::ACK_MODE_AUTO;
  return read;
}

absl::StatusOr<SubscribeRequest> ReadSubscriptionOpen(const v1::SubscriptionOpen& open,
                                                      const Config& config) {
  SubscribeRequest read;
  const auto token = ReadToken(open.claim_token());
  if (!token.ok()) return InField("open", token.status());
  read.token = *token;
  const auto lease_ms = ReadLeaseMs(open.has_lease(), open.lease(), config);
  if (!lease_ms.ok()) return InField("open", lease_ms.status());
  read.lease_ms = *lease_ms;
  const auto bytes_max = ReadMaxBytes(open.max_bytes(), config);
  if (!bytes_max.ok()) return InField("open", bytes_max.status());
  read.bytes_max = *bytes_max;
  return read;
}

}  // namespace mayfly
