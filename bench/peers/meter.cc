#include "meter.h"

#include <algorithm>
#include <utility>

namespace mayfly::peers {
namespace {

constexpr std::array<const char*, kStepCount> kStepNames = {"put_input", "get_input", "put_output",
                                                            "take_output", "end"};

float MicrosecondsBetween(int64_t begun_ns, int64_t ended_ns) {
  return static_cast<float>(static_cast<double>(ended_ns - begun_ns) / 1e3);
}

void Append(const std::vector<float>& from, std::vector<float>* to) {
  to->insert(to->end(), from.begin(), from.end());
}

float Quantile(double share, std::vector<float>* values) {
  const auto place =
      values->begin() + static_cast<ptrdiff_t>(share * static_cast<double>(values->size() - 1));
  std::nth_element(values->begin(), place, values->end());
  return *place;
}

nlohmann::json QuantilesOf(std::vector<float> values) {
  if (values.empty()) return nullptr;
  return {{"p50", Quantile(0.5, &values)}, {"p99", Quantile(0.99, &values)}};
}

}  // namespace

void Meter::AddStep(Step step, int64_t begun_ns, int64_t ended_ns) {
  if (!Counts(ended_ns)) return;
  step_us_[static_cast<size_t>(step)].push_back(MicrosecondsBetween(begun_ns, ended_ns));
}

void Meter::AddLives(uint32_t calls, int64_t begun_ns, int64_t ended_ns) {
  if (!Counts(ended_ns)) return;
  lives_ += calls;
  life_us_.push_back(MicrosecondsBetween(begun_ns, ended_ns));
}

nlohmann::json ReportOf(const Workload& workload, std::vector<Meter> meters) {
  uint64_t lives = 0;
  std::vector<float> life_us;
  std::array<std::vector<float>, kStepCount> step_us;
  for (const Meter& meter : meters) {
    lives += meter.lives_;
    Append(meter.life_us_, &life_us);
    for (size_t i = 0; i < kStepCount; ++i) Append(meter.step_us_[i], &step_us[i]);
  }
  const double seconds = static_cast<double>(workload.measure_ns) / 1e9;
  nlohmann::json steps;
  for (size_t i = 0; i < kStepCount; ++i) steps[kStepNames[i]] = QuantilesOf(std::move(step_us[i]));
  return {{"payload_bytes", workload.payload_bytes},
          {"batch_calls", workload.batch_calls},
          {"lanes", workload.lanes},
          {"connections", workload.connections},
          {"seconds", seconds},
          {"lives", lives},
          {"errors", 0},
          {"lives_per_s", static_cast<double>(lives) / seconds},
          {"life_us", QuantilesOf(std::move(life_us))},
          {"step_us", steps}};
}

}  // namespace mayfly::peers
