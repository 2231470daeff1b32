// What an upload can be refused with.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

#include "base/bound.h"
#include "base/error.h"

namespace mayfly {

inline absl::Status UnknownUploadError() {
  return MakeError(absl::StatusCode::kNotFound, Reason::kUploadUnknown,
                   "no such upload is under way");
}

inline absl::Status UploadOffsetError(absl::string_view field, uint64_t value,
                                      uint64_t committed_bytes) {
  absl::Status error = MakeError(absl::StatusCode::kOutOfRange, Reason::kOffsetMismatch,
                                 absl::StrCat(field, " is ", value, ", the upload has ",
                                              committed_bytes, " bytes: it goes on there"));
  return WithBound(
      WithMetadata(std::move(error), "field", field),
      {.value = absl::StrCat(value), .limit = absl::StrCat(committed_bytes), .unit = "bytes"});
}

// While there is not room on the disk for all uploads, the oldest come first (upload_turns.h).
inline absl::Status UploadMayNotBeginError() {
  return WithRetryDelay(
      MakeError(absl::StatusCode::kResourceExhausted, Reason::kDiskFull,
                "uploads that have begun wait for room on the disk: begin this one later"),
      absl::Seconds(1));
}

inline absl::Status UploadGaveWayError() {
  return WithRetryDelay(
      MakeError(absl::StatusCode::kResourceExhausted, Reason::kDiskFull,
                "the disk is full, and an older upload needs the room: begin this one again later"),
      absl::Seconds(1));
}

inline absl::Status UploadTooLargeError(uint64_t size_bytes, uint64_t limit) {
  absl::Status error =
      MakeError(absl::StatusCode::kOutOfRange, Reason::kPayloadTooLarge,
                absl::StrCat("payload_bytes is ", size_bytes, ", limit is ", limit, " bytes"));
  return WithBound(
      WithMetadata(std::move(error), "field", "payload_bytes"),
      {.value = absl::StrCat(size_bytes), .limit = absl::StrCat(limit), .unit = "bytes"});
}

}  // namespace mayfly
