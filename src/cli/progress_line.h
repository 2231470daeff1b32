// The line that tells how far a transfer has come. Pure text, of the figures given.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"

namespace mayfly::cli {

struct ProgressFigures {
  uint64_t bytes = 0;                   // so far
  std::optional<uint64_t> bytes_total;  // once it is known
  // Of a transfer of many outputs: these decide the share and the time left.
  std::optional<uint64_t> outputs;
  uint64_t outputs_total = 0;
  double bytes_per_second = 0;
  absl::Duration left = absl::InfiniteDuration();  // infinite: not known
};

// "50 % [#####-----] 512.0 MiB of 1.0 GiB, 143.2 MiB/s, 0:04 left", in at most `columns` characters:
// first the bar becomes short, then it goes, then the end of the rest.
std::string ProgressLine(const ProgressFigures& figures, int columns);

// "0 B", "1023 B", "1.0 KiB", "143.2 MiB".
std::string BytesText(uint64_t bytes);
// "0:04", "12:34", "1:02:03"; longer than 99 hours is "long".
std::string ClockText(absl::Duration duration);

}  // namespace mayfly::cli
