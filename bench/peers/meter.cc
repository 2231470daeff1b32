#include "meter.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace mayfly::peers {
namespace {

// Fewer are no rate: what ends at one time ends together.
constexpr uint32_t kBatchesOfLaneMin = 3;
// A peer that is slower than all expectation still gets to its end.
constexpr int64_t kMeasureFactorMax = 5;
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

Window::Window(const Workload& workload)
    : begin_ns_(NowNs() + workload.warm_up_ns),
      measure_ns_(workload.measure_ns),
      batches_min_(workload.lanes * kBatchesOfLaneMin) {}

bool Window::IsOver(int64_t now_ns) {
  if (now_ns > end_ns_) return true;
  const int64_t elapsed_ns = now_ns - begin_ns_;
  if (elapsed_ns < measure_ns_) return false;
  if (batches_ < batches_min_ && elapsed_ns < kMeasureFactorMax * measure_ns_) return false;
  int64_t open = std::numeric_limits<int64_t>::max();
  end_ns_.compare_exchange_strong(open, now_ns);
  return true;
}

void Meter::AddStep(Step step, int64_t begun_ns, int64_t ended_ns) {
  if (window_ == nullptr || !window_->Counts(ended_ns)) return;
  step_us_[static_cast<size_t>(step)].push_back(MicrosecondsBetween(begun_ns, ended_ns));
}

void Meter::AddLives(uint32_t calls, int64_t begun_ns, int64_t ended_ns) {
  if (window_ == nullptr || !window_->Counts(ended_ns)) return;
  window_->AddBatch();
  lives_ += calls;
  life_us_.push_back(MicrosecondsBetween(begun_ns, ended_ns));
}

nlohmann::json ReportOf(const Workload& workload, const Window& window, std::vector<Meter> meters) {
  uint64_t lives = 0;
  std::vector<float> life_us;
  std::array<std::vector<float>, kStepCount> step_us;
  for (const Meter& meter : meters) {
    lives += meter.lives_;
    Append(meter.life_us_, &life_us);
    for (size_t i = 0; i < kStepCount; ++i) Append(meter.step_us_[i], &step_us[i]);
  }
  const double seconds = window.Seconds();
  if (lives == 0) Die(absl::StrCat("no life came to its end within ", seconds, " s"));
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
