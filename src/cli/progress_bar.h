// A ProgressBar shows the progress of a transfer on a terminal, in one line that it redraws.
//
// It draws at most ten times a second, and nothing before the first figures. The rate is that of
// the last few seconds; at the end, that of the whole transfer. Thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <ostream>
#include <string>

#include "absl/time/time.h"

#include "base/mutex.h"
#include "cli/progress_line.h"

namespace mayfly::cli {

class ProgressBar {
 public:
  struct Terminal {
    std::ostream* out = nullptr;  // null: no terminal, nothing is drawn
    std::function<int()> columns;
    std::function<absl::Time()> now;  // any clock that never decreases
    bool only_waits = false;  // the payload is written to the terminal: no figures beside it
  };

  explicit ProgressBar(Terminal terminal) : terminal_(std::move(terminal)) {}

  bool IsShown() const { return terminal_.out != nullptr; }

  void ShowBytes(uint64_t bytes, std::optional<uint64_t> bytes_total) EXCLUDES_LOCK(mutex_);
  void ShowOutputs(const OutputCounts& outputs, uint64_t bytes) EXCLUDES_LOCK(mutex_);
  // Nothing has come yet.
  void ShowWait(absl::Duration waited) EXCLUDES_LOCK(mutex_);

  // Clears the line, so that other text can be written; the next figures draw it again.
  void Hide() EXCLUDES_LOCK(mutex_);
  // Keeps the last figures; further output starts on the next line.
  void End() EXCLUDES_LOCK(mutex_);

 private:
  struct Sample {
    absl::Time time;
    ProgressFigures figures;
  };

  void Show(const ProgressFigures& figures) EXCLUDES_LOCK(mutex_);
  bool IsTimeToDraw(absl::Time now) REQUIRES_LOCK(mutex_);
  void HideLocked() REQUIRES_LOCK(mutex_);
  // The latest figures, with the rate since `since`.
  ProgressFigures Measure(const Sample& since) REQUIRES_LOCK(mutex_);
  void Draw(const std::string& line) REQUIRES_LOCK(mutex_);

  const Terminal terminal_;
  Mutex mutex_;
  std::optional<Sample> first_ GUARDED_BY(mutex_);
  std::deque<Sample> recent_ GUARDED_BY(mutex_);  // of the last few seconds
  absl::Time drawn_ GUARDED_BY(mutex_) = absl::InfinitePast();
  bool is_drawn_ GUARDED_BY(mutex_) = false;
};

}  // namespace mayfly::cli
