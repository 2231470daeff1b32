#include "cli/waiting.h"

#include "absl/time/clock.h"

#include "base/clock.h"

namespace mayfly::cli {
namespace {

constexpr absl::Duration kTurn = absl::Milliseconds(250);

absl::Duration Uptime() { return SystemClock().Read().boottime; }

}  // namespace

Waiting::Waiting(ProgressBar* bar) : bar_(bar) {
  if (bar_->IsShown()) thread_ = std::thread([this] { Run(); });
}

Waiting::~Waiting() { Stop(); }

void Waiting::Stop() {
  {
    MutexLock lock(&mutex_);
    is_over_ = true;
    changed_.NotifyAll();
  }
  if (!thread_.joinable()) return;
  thread_.join();
  bar_->Hide();
}

void Waiting::Run() {
  const absl::Duration begun = Uptime();
  MutexLock lock(&mutex_);
  while (!is_over_) {
    changed_.WaitFor(&mutex_, kTurn);
    // An output that is there comes within the first turn, without a flicker.
    if (!is_over_) bar_->ShowWait(Uptime() - begun);
  }
}

}  // namespace mayfly::cli
