#include "rpc/range_check.h"

#include <string>

#include "absl/strings/str_cat.h"

#include "base/error.h"

namespace mayfly {
namespace {

// google/protobuf/duration.proto
constexpr int64_t kProtoSecondsMax = 315'576'000'000;
constexpr int32_t kProtoNanosMax = 999'999'999;

bool IsProtoDuration(const google::protobuf::Duration& duration) {
  const int64_t seconds = duration.seconds();
  const int32_t nanos = duration.nanos();
  return seconds >= -kProtoSecondsMax && seconds <= kProtoSecondsMax && nanos >= -kProtoNanosMax &&
         nanos <= kProtoNanosMax && (seconds == 0 || nanos == 0 || (seconds < 0) == (nanos < 0));
}

}  // namespace

CrossedBound BoundOf(uint64_t value, const CountRange& range) {
  return {.value = absl::StrCat(value),
          .limit = absl::StrCat(value < range.min ? range.min : range.max),
          .unit = range.unit};
}

CrossedBound BoundOf(absl::Duration value, const DurationRange& range) {
  constexpr absl::Duration kMs = absl::Milliseconds(1);
  const bool is_below = value < range.min;
  const absl::Duration shown = is_below ? absl::Floor(value, kMs) : absl::Ceil(value, kMs);
  return {.value = absl::StrCat(absl::ToInt64Milliseconds(shown)),
          .limit = absl::StrCat(absl::ToInt64Milliseconds(is_below ? range.min : range.max)),
          .unit = "ms"};
}

absl::StatusOr<int64_t> ReadDurationMs(absl::string_view field,
                                       const google::protobuf::Duration& wire,
                                       const DurationRange& range) {
  const std::string range_text = absl::StrCat("range is ", absl::FormatDuration(range.min), " to ",
                                              absl::FormatDuration(range.max));
  if (!IsProtoDuration(wire)) {
    return FieldError(field, "not a valid google.protobuf.Duration", range_text);
  }
  const absl::Duration duration = absl::Seconds(wire.seconds()) + absl::Nanoseconds(wire.nanos());
  if (duration < range.min || duration > range.max) {
    return WithBound(FieldError(field, absl::FormatDuration(duration), range_text),
                     BoundOf(duration, range));
  }
  return absl::ToInt64Milliseconds(duration);
}

absl::Status CheckLength(absl::string_view field, int count, const CountRange& range) {
  const auto length = static_cast<uint64_t>(count);
  if (length >= range.min && length <= range.max) return absl::OkStatus();
  return WithBound(FieldError(field, absl::StrCat(length, " items long"),
                              absl::StrCat("range is ", range.min, " to ", range.max)),
                   BoundOf(length, range));
}

absl::Status CheckCount(absl::string_view field, uint64_t value, const CountRange& range) {
  if (value <= range.max) return absl::OkStatus();
  return WithBound(FieldError(field, absl::StrCat(value),
                              absl::StrCat("range is ", range.min, " to ", range.max)),
                   BoundOf(value, range));
}

absl::Status CheckSize(absl::string_view field, uint64_t bytes, uint64_t bytes_max) {
  if (bytes <= bytes_max) return absl::OkStatus();
  return WithBound(
      FieldError(field, absl::StrCat(bytes, " bytes"), absl::StrCat("limit is ", bytes_max)),
      BoundOf(bytes, {.max = bytes_max, .unit = "bytes"}));
}

}  // namespace mayfly
