// A ProgressBar shows the progress of a transfer on a terminal, in one line that it redraws.
//
// It draws at most ten times a second, and nothing before the first figures. The rate is that of
// the last few seconds; at the end, that of the whole transfer. Not thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <ostream>
#include <string>

#include "absl/time/time.h"

#include "cli/progress_line.h"

namespace mayfly::cli {

class ProgressBar {
 public:
  struct Terminal {
    std::ostream* out = nullptr;  // null: no terminal, nothing is drawn
    std::function<int()> columns;
    std::function<absl::Time()> now;  // any clock that never decreases
  };

  explicit ProgressBar(Terminal terminal) : terminal_(std::move(terminal)) {}

  void ShowBytes(uint64_t bytes, std::optional<uint64_t> bytes_total);
  void ShowOutputs(uint64_t outputs, uint64_t outputs_total, uint64_t bytes);

  // Clears the line, so that other text can be written; the next figures draw it again.
  void Hide();
  // Keeps the last figures; further output starts on the next line.
  void End();

 private:
  struct Sample {
    absl::Time time;
    ProgressFigures figures;
  };

  void Show(const ProgressFigures& figures);
  // The latest figures, with the rate since `since`.
  ProgressFigures Measure(const Sample& since) const;
  void Draw(const ProgressFigures& figures);

  const Terminal terminal_;
  std::optional<Sample> first_;
  std::deque<Sample> recent_;  // of the last few seconds
  absl::Time drawn_ = absl::InfinitePast();
  bool is_drawn_ = false;
};

}  // namespace mayfly::cli
