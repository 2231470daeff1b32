// A Meter counts what one or more lanes did within the measured window, and how long it took.
//
// The window begins after the warm-up; what ends before or after it is not counted. Not thread-safe:
// lanes that run on several threads have one each, merged by ReportOf.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include <nlohmann/json.hpp>

#include "workload.h"

namespace mayfly::peers {

enum class Step { kPutInput, kGetInput, kPutOutput, kTakeOutput, kEnd };
inline constexpr size_t kStepCount = 5;

class Meter {
 public:
  Meter(int64_t window_begin_ns, int64_t window_end_ns)
      : window_begin_ns_(window_begin_ns), window_end_ns_(window_end_ns) {}

  // No batch is begun any more from then on.
  bool IsOver(int64_t now_ns) const { return now_ns >= window_end_ns_; }
  // A step of a whole batch, or the lives of one.
  void AddStep(Step step, int64_t begun_ns, int64_t ended_ns);
  void AddLives(uint32_t calls, int64_t begun_ns, int64_t ended_ns);

 private:
  friend nlohmann::json ReportOf(const Workload& workload, std::vector<Meter> meters);

  bool Counts(int64_t ended_ns) const {
    return ended_ns >= window_begin_ns_ && ended_ns < window_end_ns_;
  }

  int64_t window_begin_ns_;
  int64_t window_end_ns_;
  uint64_t lives_ = 0;
  std::vector<float> life_us_;
  std::array<std::vector<float>, kStepCount> step_us_;
};

// Lives per second over all meters, median and 99th percentile of a life and of each step. "errors"
// is always 0: a driver that meets one ends without a report.
nlohmann::json ReportOf(const Workload& workload, std::vector<Meter> meters);

}  // namespace mayfly::peers
