// The reasons of errors, for programs to branch on.
//
// Every error of Mayfly is an absl::Status with a canonical code, a text for people, and a Reason.
// Names and numbers are those of mayfly.v1.ErrorReason in proto/mayfly/v1/error_reason.proto.
//
//   if (mayfly::ReasonOf(status) == mayfly::Reason::kOutputConsumed) ...  // retrieved before
#pragma once

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace mayfly {

enum class Reason : int {
  kUnspecified = 0,
  // NOT_FOUND
  kCallUnknown = 1,
  kOutputConsumed = 2,
  kCallDeleted = 3,
  kCallExpired = 4,
  kUploadUnknown = 29,
  // ALREADY_EXISTS
  kCallConflict = 5,
  kOutputConflict = 6,
  // ABORTED
  kStaleAttempt = 7,
  kUploadTakenOver = 30,
  // FAILED_PRECONDITION
  kClaimLost = 8,
  kOutputClaimed = 9,
  kOutputPending = 10,
  // RESOURCE_EXHAUSTED, with a retry delay
  kQuotaBytes = 11,
  kQuotaCalls = 12,
  kQuotaRate = 13,
  kQuotaClaims = 14,
  kQuotaUploads = 31,
  kOverloaded = 15,
  kDiskFull = 16,
  // INVALID_ARGUMENT or OUT_OF_RANGE
  kFieldInvalid = 17,
  kIdOutsideWindow = 18,
  kPayloadTooLarge = 19,
  kChecksumMismatch = 20,  // with DATA_LOSS when the client found it
  kOffsetMismatch = 21,
  // PERMISSION_DENIED or UNAUTHENTICATED
  kRoleRequired = 22,
  kIdentityInvalid = 23,
  kTokenExpired = 24,
  // DATA_LOSS
  kAuthenticationFailed = 25,
  // UNAVAILABLE
  kDraining = 26,
  kStarting = 27,
  kStorageDown = 28,
};

// The reason's name on the wire, "CALL_UNKNOWN" for kCallUnknown.
absl::string_view ReasonName(Reason reason);

// kUnspecified for an error without a reason.
Reason ReasonOf(const absl::Status& status);

// How long the server asks to wait before a retry; zero if it does not.
absl::Duration RetryDelayOf(const absl::Status& status);

// Facts for programs, so that they need not read the text: of a value that was rejected its
// "field", "value", "limit" and "unit", as far as they apply; empty for other errors.
std::map<std::string, std::string> MetadataOf(const absl::Status& status);

}  // namespace mayfly
