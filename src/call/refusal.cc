#include "call/refusal.h"

#include <cstdlib>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

#include "base/bound.h"
#include "base/error.h"

namespace mayfly {

absl::Status EndedError(EndReason reason) {
  switch (reason) {
    case EndReason::kConsumed:
      return MakeError(absl::StatusCode::kNotFound, Reason::kOutputConsumed,
                       "the output was retrieved and acknowledged");
    case EndReason::kDeleted:
      return MakeError(absl::StatusCode::kNotFound, Reason::kCallDeleted, "the call was deleted");
    case EndReason::kExpired:
      break;
  }
  return MakeError(absl::StatusCode::kNotFound, Reason::kCallExpired,
                   "the call is past its deadline");
}

absl::Status UnknownError() {
  return MakeError(absl::StatusCode::kNotFound, Reason::kCallUnknown, "no such call");
}

absl::Status TooLateError() {
  return MakeError(absl::StatusCode::kNotFound, Reason::kCallExpired,
                   "the put was processed after its own deadline");
}

absl::Status DamagedError() {
  return MakeError(absl::StatusCode::kDataLoss, Reason::kAuthenticationFailed,
                   "the stored payload is damaged");
}

absl::Status UploadEndedError() {
  return MakeError(absl::StatusCode::kNotFound, Reason::kUploadUnknown,
                   "the upload has ended with its call");
}

absl::Status ClaimLostError() {
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kClaimLost,
                   "the claim has lapsed, was released, or belongs to another client");
}

absl::Status OutsideWindowError(int64_t ahead_ms, int64_t limit_ms) {
  const std::string distance = absl::FormatDuration(absl::Milliseconds(std::abs(ahead_ms)));
  const std::string limit = absl::StrCat(
      "limit is ", absl::FormatDuration(absl::Milliseconds(limit_ms)), " (limits.id_window)");
  absl::Status status = MakeError(
      absl::StatusCode::kInvalidArgument, Reason::kIdOutsideWindow,
      ahead_ms > 0
          ? absl::StrCat("the time in call_id is ", distance, " ahead of the server's clock, ",
                         limit, ": set your clock")
          : absl::StrCat("the time in call_id is ", distance, " behind the server's clock, ", limit,
                         ": put an input soon after its id was generated, and set your clock"));
  status = WithMetadata(std::move(status), "field", "call_id");
  return WithBound(
      std::move(status),
      {.value = absl::StrCat(ahead_ms), .limit = absl::StrCat(limit_ms), .unit = "ms"});
}

}  // namespace mayfly
