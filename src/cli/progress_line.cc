#include "cli/progress_line.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace mayfly::cli {
namespace {

constexpr int kBarColumnsMax = 40;
constexpr int kBarColumnsMin = 10;

// The share done, 0..1, if the total is known.
std::optional<double> Share(const ProgressFigures& figures) {
  if (figures.outputs.has_value()) {
    if (figures.outputs->total == 0) return std::nullopt;
    return static_cast<double>(figures.outputs->Finished()) /
           static_cast<double>(figures.outputs->total);
  }
  if (figures.bytes_total.value_or(0) == 0) return std::nullopt;
  const double share =
      static_cast<double>(figures.bytes) / static_cast<double>(*figures.bytes_total);
  return std::min(share, 1.0);
}

std::string AmountText(const ProgressFigures& figures) {
  if (figures.outputs.has_value()) {
    const OutputCounts& outputs = *figures.outputs;
    const std::string ended =
        outputs.ended > 0 ? absl::StrCat(outputs.ended, " without output, ") : "";
    const uint64_t pending = outputs.total - outputs.Finished();
    return absl::StrCat(outputs.saved, " of ", outputs.total, " outputs, ", ended,
                        pending > 0 ? absl::StrCat(pending, " pending, ") : "",
                        BytesText(figures.bytes));
  }
  if (!figures.bytes_total.has_value()) return BytesText(figures.bytes);
  return absl::StrCat(BytesText(figures.bytes), " of ", BytesText(*figures.bytes_total));
}

std::string BarText(double share, int columns) {
  const int done = static_cast<int>(share * columns);
  return absl::StrCat("[", std::string(done, '#'), std::string(columns - done, '-'), "] ");
}

}  // namespace

std::string WaitLine(absl::Duration waited, int columns) {
  constexpr absl::string_view kTurns = "|/-\\";
  const auto turn = static_cast<size_t>(absl::ToInt64Milliseconds(waited) / 250);
  const std::string line =
      absl::StrCat(kTurns.substr(turn % kTurns.size(), 1), " waiting for the output, ",
                   absl::StrFormat("%d:%02d", absl::ToInt64Seconds(waited) / 60,
                                   absl::ToInt64Seconds(waited) % 60));
  return line.substr(0, static_cast<size_t>(std::max(columns, 0)));
}

std::string BytesText(uint64_t bytes) {
  constexpr std::array<const char*, 6> kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return absl::StrCat(bytes, " B");
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  while (value >= 1023.95) {  // would be printed as 1024.0
    value /= 1024;
    ++unit;
  }
  return absl::StrFormat("%.1f %s", value, kUnits[unit]);
}

std::string ClockText(absl::Duration duration) {
  if (duration > absl::Hours(99)) return "long";
  const int64_t seconds = absl::ToInt64Seconds(absl::Ceil(duration, absl::Seconds(1)));
  const int64_t minutes = seconds / 60;
  if (minutes < 60) return absl::StrFormat("%d:%02d", minutes, seconds % 60);
  return absl::StrFormat("%d:%02d:%02d", minutes / 60, minutes % 60, seconds % 60);
}

std::string ProgressLine(const ProgressFigures& figures, int columns) {
  const std::optional<double> share = Share(figures);
  const std::string percent =
      share.has_value() ? absl::StrFormat("%3d %% ", static_cast<int>(*share * 100)) : "";
  std::string rest = absl::StrCat(AmountText(figures), ", ",
                                  BytesText(static_cast<uint64_t>(figures.bytes_per_second)), "/s");
  if (figures.left < absl::InfiniteDuration()) {
    absl::StrAppend(&rest, ", ", ClockText(figures.left), " left");
  }
  const int free_columns = columns - static_cast<int>(percent.size() + rest.size()) - 3;
  std::string line = percent;
  if (share.has_value() && free_columns >= kBarColumnsMin) {
    line += BarText(*share, std::min(free_columns, kBarColumnsMax));
  }
  line += rest;
  return line.substr(0, static_cast<size_t>(std::max(columns, 0)));
}

}  // namespace mayfly::cli
