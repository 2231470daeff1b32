// Errors with a stable reason.
//
// An error that may be sent to clients carries a canonical code, a text and a Reason, on which
// programs branch. The reasons and the functions to read them are public: mayfly/error.h.
// rpc/status.cc translates them to the wire.
//
//   return MakeError(absl::StatusCode::kNotFound, Reason::kCallUnknown, "no such call");
//   return LimitError(Reason::kPayloadTooLarge, "payload_bytes", 5242881, 4194304, "bytes");
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "mayfly/error.h"

namespace mayfly {

absl::Status MakeError(absl::StatusCode code, Reason reason, absl::string_view message);

// INVALID_ARGUMENT: "`field` is `value`, `expected`", where `expected` is a clause such as "range
// is 1 to 64" or "expected input or output". With the metadata field and value.
absl::Status FieldError(absl::string_view field, absl::string_view value,
                        absl::string_view expected);

// INVALID_ARGUMENT: "`field` is `value`, limit is `limit` `unit`". With all four as metadata.
absl::Status LimitError(Reason reason, absl::string_view field, uint64_t value, uint64_t limit,
                        absl::string_view unit);

// UNAVAILABLE (DRAINING) with a retry delay: the server is shutting down.
absl::Status DrainingError();

// The same error, with a fact for programs: see MetadataOf.
absl::Status WithMetadata(absl::Status status, absl::string_view key, absl::string_view value);

// The same error, with `field` as prefix of its text and of the field in its metadata.
absl::Status InField(absl::string_view field, const absl::Status& error);

// The same error, with advice on when to try again.
absl::Status WithRetryDelay(absl::Status status, absl::Duration delay);

#define RETURN_IF_ERROR(expression)                                                     \
  do {                                                                                  \
    if (absl::Status status_of_expression = (expression); !status_of_expression.ok()) { \
      return status_of_expression;                                                      \
    }                                                                                   \
  } while (false)

}  // namespace mayfly
