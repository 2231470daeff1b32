// The bound that a rejected value crossed, for programs.
//
//   return WithBound(FieldError("ttl", "25h", "range is 1s to 24h"),
//                    {.value = "90000000", .limit = "86400000", .unit = "ms"});
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace mayfly {

// Value and limit are decimal numbers of the unit. The limit is the largest or the smallest value
// that is accepted.
struct CrossedBound {
  std::string value;
  std::string limit;
  absl::string_view unit;
};

// The same error, with the metadata value, limit and unit. They replace what it has of these.
absl::Status WithBound(absl::Status error, const CrossedBound& bound);

}  // namespace mayfly
