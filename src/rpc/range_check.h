// Checks of values against their ranges. Errors have the field, its value, the bound that it crossed
// and the unit, in words and in ErrorInfo's metadata.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include <google/protobuf/duration.pb.h>

#include "base/bound.h"

namespace mayfly {

struct DurationRange {
  absl::Duration min;
  absl::Duration max;
};

struct CountRange {
  uint64_t min = 0;
  uint64_t max = 0;
  absl::string_view unit;
};

// The bound of `range` that a value outside of it crossed.
CrossedBound BoundOf(uint64_t value, const CountRange& range);
// Fractions of a ms are rounded away from the bound, so that the value stays outside.
CrossedBound BoundOf(absl::Duration value, const DurationRange& range);

absl::StatusOr<int64_t> ReadDurationMs(absl::string_view field,
                                       const google::protobuf::Duration& wire,
                                       const DurationRange& range);
// The length of a list.
absl::Status CheckLength(absl::string_view field, int count, const CountRange& range);
// For counts where 0 means the default.
absl::Status CheckCount(absl::string_view field, uint64_t value, const CountRange& range);
absl::Status CheckSize(absl::string_view field, uint64_t bytes, uint64_t bytes_max);

}  // namespace mayfly
