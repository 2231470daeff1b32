// A Window is the measured time: it begins after the warm-up, and lasts for the requested time and
// until enough batches have ended for a rate, up to a limit. A Meter counts the batches that end
// within it.
//
// A Window is shared and thread-safe, but for Meters it must be over before they report. A Meter is
// not thread-safe: lanes that run on several threads have one each, merged by ReportOf.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <limits>
#include <vector>

#include <nlohmann/json.hpp>

#include "workload.h"

namespace mayfly::peers {

enum class Step { kPutInput, kGetInput, kPutOutput, kTakeOutput, kEnd };
inline constexpr size_t kStepCount = 5;

class Window {
 public:
  // Begins after the warm-up, from now.
  explicit Window(const Workload& workload);

  // No batch is begun any more once this is true.
  bool IsOver(int64_t now_ns);
  bool Counts(int64_t ended_ns) const { return ended_ns >= begin_ns_ && ended_ns <= end_ns_; }
  void AddBatch() { ++batches_; }

  double Seconds() const { return static_cast<double>(end_ns_ - begin_ns_) / 1e9; }

 private:
  const int64_t begin_ns_;
  const int64_t measure_ns_;
  const uint32_t batches_min_;
  std::atomic<uint32_t> batches_ = 0;
  std::atomic<int64_t> end_ns_ = std::numeric_limits<int64_t>::max();
};

class Meter {
 public:
  // Outlives the meter. Null: nothing is counted.
  explicit Meter(Window* window) : window_(window) {}

  // A step of a whole batch, or the lives of one.
  void AddStep(Step step, int64_t begun_ns, int64_t ended_ns);
  void AddLives(uint32_t calls, int64_t begun_ns, int64_t ended_ns);

 private:
  friend nlohmann::json ReportOf(const Workload& workload, const Window& window,
                                 std::vector<Meter> meters);

  Window* window_;
  uint64_t lives_ = 0;
  std::vector<float> life_us_;
  std::array<std::vector<float>, kStepCount> step_us_;
};

// Lives per second over all meters, median and 99th percentile of a life and of each step. "errors"
// is always 0: a driver that meets one ends without a report, and so it does without a single life.
nlohmann::json ReportOf(const Workload& workload, const Window& window, std::vector<Meter> meters);

}  // namespace mayfly::peers
