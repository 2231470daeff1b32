// What an upload can be refused with.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"

namespace mayfly {

inline absl::Status UnknownUploadError() {
  return MakeError(absl::StatusCode::kNotFound, Reason::kUploadUnknown,
                   "no such upload is under way");
}

inline absl::Status UploadOffsetError(absl::string_view field, uint64_t value,
                                      uint64_t committed_bytes) {
  return MakeError(absl::StatusCode::kOutOfRange, Reason::kOffsetMismatch,
                   absl::StrCat(field, " is ", value, ", the upload has ", committed_bytes,
                                " bytes: it goes on there"));
}

inline absl::Status UploadTooLargeError(uint64_t size_bytes, uint64_t limit) {
  return MakeError(absl::StatusCode::kOutOfRange, Reason::kPayloadTooLarge,
                   absl::StrCat("payload_bytes is ", size_bytes, ", limit is ", limit, " bytes"));
}

}  // namespace mayfly
