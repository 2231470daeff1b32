#include "cli/progress_bar.h"

namespace mayfly::cli {
namespace {

constexpr absl::Duration kDrawInterval = absl::Milliseconds(100);
// Long enough for a stable rate, short enough to show that a network has become slow.
constexpr absl::Duration kRateWindow = absl::Seconds(5);
constexpr char kEraseLine[] = "\r\x1b[K";

double PerSecond(uint64_t before, uint64_t after, absl::Duration elapsed) {
  const double seconds = absl::ToDoubleSeconds(elapsed);
  return seconds > 0 && after > before ? static_cast<double>(after - before) / seconds : 0;
}

// The measure of progress from which the remaining time is computed.
uint64_t WorkDone(const ProgressFigures& figures) {
  return figures.outputs.has_value() ? figures.outputs->Finished() : figures.bytes;
}

uint64_t WorkTotal(const ProgressFigures& figures) {
  return figures.outputs.has_value() ? figures.outputs->total : figures.bytes_total.value_or(0);
}

}  // namespace

void ProgressBar::ShowBytes(uint64_t bytes, std::optional<uint64_t> bytes_total) {
  Show({.bytes = bytes, .bytes_total = bytes_total});
}

void ProgressBar::ShowOutputs(const OutputCounts& outputs, uint64_t bytes) {
  Show({.bytes = bytes, .outputs = outputs});
}

void ProgressBar::ShowWait(absl::Duration waited) {
  if (terminal_.out == nullptr) return;
  MutexLock lock(&mutex_);
  if (first_.has_value() || !IsTimeToDraw(terminal_.now())) return;
  Draw(WaitLine(waited, terminal_.columns()));
}

void ProgressBar::Hide() {
  MutexLock lock(&mutex_);
  HideLocked();
}

void ProgressBar::HideLocked() {
  if (!is_drawn_) return;
  *terminal_.out << kEraseLine << std::flush;
  is_drawn_ = false;
  drawn_ = absl::InfinitePast();
}

void ProgressBar::End() {
  MutexLock lock(&mutex_);
  if (!first_.has_value()) return HideLocked();
  ProgressFigures figures = Measure(*first_);
  figures.left = absl::InfiniteDuration();
  Draw(ProgressLine(figures, terminal_.columns()));
  *terminal_.out << "\n" << std::flush;
  is_drawn_ = false;
  first_.reset();
  recent_.clear();
}

void ProgressBar::Show(const ProgressFigures& figures) {
  if (terminal_.out == nullptr) return;
  MutexLock lock(&mutex_);
  if (terminal_.only_waits) return HideLocked();
  const absl::Time now = terminal_.now();
  recent_.push_back({now, figures});
  while (recent_.size() > 2 && recent_[1].time <= now - kRateWindow) recent_.pop_front();
  if (!first_.has_value()) first_ = recent_.back();
  if (IsTimeToDraw(now)) Draw(ProgressLine(Measure(recent_.front()), terminal_.columns()));
}

bool ProgressBar::IsTimeToDraw(absl::Time now) {
  if (now - drawn_ < kDrawInterval) return false;
  drawn_ = now;
  return true;
}

ProgressFigures ProgressBar::Measure(const Sample& since) {
  const Sample& latest = recent_.back();
  const absl::Duration elapsed = latest.time - since.time;
  ProgressFigures figures = latest.figures;
  figures.bytes_per_second = PerSecond(since.figures.bytes, figures.bytes, elapsed);
  const uint64_t done = WorkDone(figures);
  const uint64_t total = WorkTotal(figures);
  const double work_per_second = PerSecond(WorkDone(since.figures), done, elapsed);
  if (work_per_second > 0 && total >= done) {
    figures.left = absl::Seconds(static_cast<double>(total - done) / work_per_second);
  }
  return figures;
}

void ProgressBar::Draw(const std::string& line) {
  *terminal_.out << kEraseLine << line << std::flush;
  is_drawn_ = true;
}

}  // namespace mayfly::cli
