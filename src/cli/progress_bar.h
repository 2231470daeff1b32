// A ProgressBar shows on a terminal how far a transfer has come: one line, drawn over itself.
//
// Draws at most ten times a second, and nothing before the first figures. The rate is that of the
// last few seconds, until the end, which shows the whole's. Not thread-safe.
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
    std::ostream* out = nullptr;  // null: there is none, and nothing is drawn
    std::function<int()> columns;
    std::function<absl::Time()> now;  // any clock that only goes forwards
  };

  explicit ProgressBar(Terminal terminal) : terminal_(std::move(terminal)) {}

  void ShowBytes(uint64_t bytes, std::optional<uint64_t> bytes_total);
  void ShowOutputs(uint64_t outputs, uint64_t outputs_total, uint64_t bytes);

  // Takes the line away, for something else to be written; the next figures bring it back.
  void Hide();
  // The last figures stay, and what is written next goes below them.
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
