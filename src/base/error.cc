#include "base/error.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#include "base/check.h"

namespace mayfly {
namespace {

constexpr char kReasonUrl[] = "mayfly/reason";
constexpr char kRetryDelayUrl[] = "mayfly/retry_delay_ms";
constexpr absl::string_view kMetadataUrlPrefix = "mayfly/metadata/";  // before the key
constexpr char kFieldKey[] = "field";

constexpr std::array<absl::string_view, 32> kNames = {
    "ERROR_REASON_UNSPECIFIED",
    "CALL_UNKNOWN",
    "OUTPUT_CONSUMED",
    "CALL_DELETED",
    "CALL_EXPIRED",
    "CALL_CONFLICT",
    "OUTPUT_CONFLICT",
    "STALE_ATTEMPT",
    "CLAIM_LOST",
    "OUTPUT_CLAIMED",
    "OUTPUT_PENDING",
    "QUOTA_BYTES",
    "QUOTA_CALLS",
    "QUOTA_RATE",
    "QUOTA_CLAIMS",
    "OVERLOADED",
    "DISK_FULL",
    "FIELD_INVALID",
    "ID_OUTSIDE_WINDOW",
    "PAYLOAD_TOO_LARGE",
    "CHECKSUM_MISMATCH",
    "OFFSET_MISMATCH",
    "ROLE_REQUIRED",
    "IDENTITY_INVALID",
    "TOKEN_EXPIRED",
    "AUTHENTICATION_FAILED",
    "DRAINING",
    "STARTING",
    "STORAGE_DOWN",
    "UPLOAD_UNKNOWN",
    "UPLOAD_TAKEN_OVER",
    "QUOTA_UPLOADS",
};

int64_t ReadNumber(const absl::Status& status, absl::string_view url) {
  const auto payload = status.GetPayload(url);
  int64_t value = 0;
  if (payload.has_value() && !absl::SimpleAtoi(std::string(*payload), &value)) return 0;
  return value;
}

}  // namespace

absl::string_view ReasonName(Reason reason) {
  const size_t index = static_cast<size_t>(reason);
  Check(index < kNames.size(), "a reason has a name");
  return kNames[index];
}

absl::Status MakeError(absl::StatusCode code, Reason reason, absl::string_view message) {
  absl::Status status(code, message);
  status.SetPayload(kReasonUrl, absl::Cord(ReasonName(reason)));
  return status;
}

absl::Status FieldError(absl::string_view field, absl::string_view value,
                        absl::string_view expected) {
  absl::Status status = MakeError(absl::StatusCode::kInvalidArgument, Reason::kFieldInvalid,
                                  absl::StrCat(field, " is ", value, ", ", expected));
  return WithMetadata(WithMetadata(std::move(status), kFieldKey, field), "value", value);
}

absl::Status LimitError(Reason reason, absl::string_view field, uint64_t value, uint64_t limit,
                        absl::string_view unit) {
  absl::Status status = MakeError(
      absl::StatusCode::kInvalidArgument, reason,
      absl::StrCat(field, " is ", value, ", limit is ", limit, unit.empty() ? "" : " ", unit));
  status = WithMetadata(std::move(status), kFieldKey, field);
  status = WithMetadata(std::move(status), "value", absl::StrCat(value));
  status = WithMetadata(std::move(status), "limit", absl::StrCat(limit));
  return unit.empty() ? status : WithMetadata(std::move(status), "unit", unit);
}

absl::Status WithMetadata(absl::Status status, absl::string_view key, absl::string_view value) {
  status.SetPayload(absl::StrCat(kMetadataUrlPrefix, key), absl::Cord(value));
  return status;
}

absl::Status InField(absl::string_view field, const absl::Status& error) {
  absl::Status status(error.code(), absl::StrCat(field, ".", error.message()));
  error.ForEachPayload([&status](absl::string_view url, const absl::Cord& payload) {
    status.SetPayload(url, payload);
  });
  const auto metadata = MetadataOf(error);
  const auto inner = metadata.find(kFieldKey);
  if (inner == metadata.end()) return status;
  return WithMetadata(std::move(status), kFieldKey, absl::StrCat(field, ".", inner->second));
}

absl::Status DrainingError() {
  // Another server, or this one after its restart, may answer by then.
  constexpr absl::Duration kRestart = absl::Seconds(1);
  return WithRetryDelay(
      MakeError(absl::StatusCode::kUnavailable, Reason::kDraining, "the server is shutting down"),
      kRestart);
}

absl::Status WithRetryDelay(absl::Status status, absl::Duration delay) {
  status.SetPayload(kRetryDelayUrl, absl::Cord(absl::StrCat(absl::ToInt64Milliseconds(delay))));
  return status;
}

Reason ReasonOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kReasonUrl);
  if (!payload.has_value()) return Reason::kUnspecified;
  const auto found = std::find(kNames.begin(), kNames.end(), std::string(*payload));
  return found == kNames.end() ? Reason::kUnspecified : static_cast<Reason>(found - kNames.begin());
}

std::map<std::string, std::string> MetadataOf(const absl::Status& status) {
  std::map<std::string, std::string> metadata;
  status.ForEachPayload([&metadata](absl::string_view url, const absl::Cord& payload) {
    if (!absl::ConsumePrefix(&url, kMetadataUrlPrefix)) return;
    metadata.emplace(url, std::string(payload));
  });
  return metadata;
}

absl::Duration RetryDelayOf(const absl::Status& status) {
  return absl::Milliseconds(ReadNumber(status, kRetryDelayUrl));
}

}  // namespace mayfly
