#include "base/error.h"

#include <algorithm>
#include <array>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "base/check.h"

namespace mayfly {
namespace {

constexpr char kReasonUrl[] = "mayfly/reason";
constexpr char kRetryDelayUrl[] = "mayfly/retry_delay_ms";

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
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kFieldInvalid,
                   absl::StrCat(field, " is ", value, ", ", expected));
}

absl::Status LimitError(Reason reason, absl::string_view field, uint64_t value, uint64_t limit,
                        absl::string_view unit) {
  return MakeError(
      absl::StatusCode::kInvalidArgument, reason,
      absl::StrCat(field, " is ", value, ", limit is ", limit, unit.empty() ? "" : " ", unit));
}

absl::Status DrainingError() {
  return MakeError(absl::StatusCode::kUnavailable, Reason::kDraining,
                   "the server is shutting down");
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

absl::Duration RetryDelayOf(const absl::Status& status) {
  return absl::Milliseconds(ReadNumber(status, kRetryDelayUrl));
}

}  // namespace mayfly
