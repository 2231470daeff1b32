// Errors with a stable reason.
//
// An error that may leave the process carries, beside its canonical code and its text, a Reason:
// what a program branches on. The names and numbers are those of mayfly.v1.ErrorReason in
// proto/mayfly/v1/error_reason.proto, which documents each. rpc/status.cc puts them on the wire.
//
//   return MakeError(absl::StatusCode::kNotFound, Reason::kCallUnknown, "no such call");
//   return LimitError(Reason::kPayloadTooLarge, "payload_bytes", 5242881, 4194304, "bytes");
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace mayfly {

enum class Reason : int {
  kUnspecified = 0,
  kCallUnknown = 1,
  kOutputConsumed = 2,
  kCallDeleted = 3,
  kCallExpired = 4,
  kCallConflict = 5,
  kOutputConflict = 6,
  kStaleAttempt = 7,
  kClaimLost = 8,
  kOutputClaimed = 9,
  kOutputPending = 10,
  kQuotaBytes = 11,
  kQuotaCalls = 12,
  kQuotaRate = 13,
  kQuotaClaims = 14,
  kOverloaded = 15,
  kDiskFull = 16,
  kFieldInvalid = 17,
  kIdOutsideWindow = 18,
  kPayloadTooLarge = 19,
  kChecksumMismatch = 20,
  kOffsetMismatch = 21,
  kRoleRequired = 22,
  kIdentityInvalid = 23,
  kTokenExpired = 24,
  kAuthenticationFailed = 25,
  kDraining = 26,
  kStarting = 27,
  kStorageDown = 28,
};

// The reason's name on the wire, "CALL_UNKNOWN" for kCallUnknown.
absl::string_view ReasonName(Reason reason);

absl::Status MakeError(absl::StatusCode code, Reason reason, absl::string_view message);

// INVALID_ARGUMENT: `field` is `value`, and what would be right.
absl::Status FieldError(absl::string_view field, absl::string_view value, absl::string_view wants);

// INVALID_ARGUMENT: "`field` is `value`, limit is `limit` `unit`".
absl::Status LimitError(Reason reason, absl::string_view field, uint64_t value, uint64_t limit,
                        absl::string_view unit);

// The same error, with advice on when to try again.
absl::Status WithRetryDelay(absl::Status status, absl::Duration delay);

// kUnspecified for an error without one.
Reason ReasonOf(const absl::Status& status);

// Zero when no advice was given.
absl::Duration RetryDelayOf(const absl::Status& status);

#define RETURN_IF_ERROR(expression)                                    \
  do {                                                                 \
    if (absl::Status status_of_expression = (expression);              \
        !status_of_expression.ok()) {                                  \
      return status_of_expression;                                     \
    }                                                                  \
  } while (false)

}  // namespace mayfly
