#include "cli/signal_watch.h"

#include <time.h>

#include "base/check.h"

namespace mayfly::cli {
namespace {

// The signal that interrupts system calls of this program's threads.
constexpr int kWakeSignal = SIGUSR1;
// A signal that arrives just before a system call has no effect, so it is repeated.
constexpr timespec kWakeInterval = {.tv_sec = 0, .tv_nsec = 20'000'000};

bool IsIgnored(int number) {
  struct sigaction action = {};
  return sigaction(number, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

[[noreturn]] void EndBy(int number) {
  signal(number, SIG_DFL);
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, number);
  pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
  raise(number);
  _exit(128 + number);
}

}  // namespace

SignalWatch::SignalWatch(Interruption* interruption)
    : interruption_(interruption), main_(pthread_self()) {
  struct sigaction wake = {};
  wake.sa_handler = [](int) {};  // without SA_RESTART
  Check(sigaction(kWakeSignal, &wake, nullptr) == 0, "a signal can be handled");
  sigemptyset(&watched_);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    if (!IsIgnored(number)) sigaddset(&watched_, number);
  }
  Check(pthread_sigmask(SIG_BLOCK, &watched_, nullptr) == 0, "signals can be blocked");
  // The thread starts with the wake signal blocked, so that a signal before its wait is not lost.
  sigset_t wakes;
  sigemptyset(&wakes);
  sigaddset(&wakes, kWakeSignal);
  Check(pthread_sigmask(SIG_BLOCK, &wakes, nullptr) == 0, "signals can be blocked");
  thread_ = std::thread([this] { Run(); });
  Check(pthread_sigmask(SIG_UNBLOCK, &wakes, nullptr) == 0, "signals can be unblocked");
}

SignalWatch::~SignalWatch() {
  pthread_kill(thread_.native_handle(), kWakeSignal);
  thread_.join();
}

void SignalWatch::EndIfInterrupted() const {
  if (const int number = signal_; number != 0) EndBy(number);
}

void SignalWatch::Run() {
  sigset_t watched = watched_;
  sigaddset(&watched, kWakeSignal);
  int number = 0;
  Check(sigwait(&watched, &number) == 0, "a signal can be waited for");
  if (number == kWakeSignal) return;
  signal_ = number;
  interruption_->Interrupt();
  WakeMainUntilTheEnd();
}

void SignalWatch::WakeMainUntilTheEnd() const {
  sigset_t watched = watched_;
  sigaddset(&watched, kWakeSignal);
  while (true) {
    pthread_kill(main_, kWakeSignal);
    const int number = sigtimedwait(&watched, nullptr, &kWakeInterval);
    if (number == kWakeSignal) return;
    if (number > 0) EndBy(number);
  }
}

}  // namespace mayfly::cli
