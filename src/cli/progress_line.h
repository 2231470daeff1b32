// The text of a progress line, a pure function of the figures.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"

namespace mayfly::cli {

// Of a transfer of many outputs.
struct OutputCounts {
  uint64_t saved = 0;
  uint64_t ended = 0;  // without an output, or with an error
  uint64_t total = 0;

  uint64_t Finished() const { return saved + ended; }
};

struct ProgressFigures {
  uint64_t bytes = 0;                   // transferred so far
  std::optional<uint64_t> bytes_total;  // once known
  // If set, these determine the percentage and the time left.
  std::optional<OutputCounts> outputs;
  double bytes_per_second = 0;
  absl::Duration left = absl::InfiniteDuration();  // infinite: unknown
};

// "50 % [#####-----] 512.0 MiB of 1.0 GiB, 143.2 MiB/s, 0:04 left", in at most `columns`
// characters. If there is too little room, the bar is shortened, then omitted, then the rest is
// truncated.
std::string ProgressLine(const ProgressFigures& figures, int columns);

// "| waiting for the output, 0:12", with a sign that turns.
std::string WaitLine(absl::Duration waited, int columns);

// "0 B", "1023 B", "1.0 KiB", "143.2 MiB".
std::string BytesText(uint64_t bytes);
// "0:04", "12:34", "1:02:03"; "long" if longer than 99 hours.
std::string ClockText(absl::Duration duration);

}  // namespace mayfly::cli
