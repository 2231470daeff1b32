// The errors with which the rules reject an operation.
#pragma once

#include <cstdint>

#include "absl/status/status.h"

#include "call/state.h"

namespace mayfly {

// How the call ended: NOT_FOUND (OUTPUT_CONSUMED, CALL_DELETED, CALL_EXPIRED).
absl::Status EndedError(EndReason reason);
// NOT_FOUND (CALL_UNKNOWN).
absl::Status UnknownError();
// NOT_FOUND (CALL_EXPIRED): the put's own ttl expired while it was queued.
absl::Status TooLateError();
// DATA_LOSS (AUTHENTICATION_FAILED).
absl::Status DamagedError();
// NOT_FOUND (UPLOAD_UNKNOWN): the call has ended since the upload began.
absl::Status UploadEndedError();
// FAILED_PRECONDITION (CLAIM_LOST).
absl::Status ClaimLostError();
// INVALID_ARGUMENT (ID_OUTSIDE_WINDOW). `ahead_ms`: how far the id's time is ahead of now; negative
// for an id of the past.
absl::Status OutsideWindowError(int64_t ahead_ms, int64_t limit_ms);

}  // namespace mayfly
