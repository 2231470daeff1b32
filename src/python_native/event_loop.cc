#include "python_native/event_loop.h"

#include <algorithm>
#include <csignal>
#include <utility>

namespace mayfly::python {
namespace {

// How long the loop's own thread leaves polling to others after one of them has waited.
constexpr absl::Duration kLeave = absl::Milliseconds(20);
constexpr int64_t kQuietNanoseconds = 5'000'000'000;
// A thread that polls does not notice signals.
constexpr int64_t kSignalsLookNanoseconds = 200'000'000;

timespec Now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now;
}

int64_t NanosecondsUntil(const timespec& end) {
  const timespec now = Now();
  return (end.tv_sec - now.tv_sec) * int64_t{1'000'000'000} + (end.tv_nsec - now.tv_nsec);
}

// Signals are the program's.
void BlockAllSignals() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

gpr_timespec After(int64_t nanoseconds) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(nanoseconds, GPR_TIMESPAN));
}

}  // namespace

EventLoop::EventLoop(absl::AnyInvocable<bool()> on_quiet)
    : on_quiet_(std::move(on_quiet)), thread_([this] { Run(); }) {}

EventLoop::Wait EventLoop::Await(BlockingRequest* request, const timespec& end) {
  bool polls = false;
  {
    MutexLock lock(&mutex_);
    ++turns_;
    polls = !is_polled_;
    if (polls) is_polled_ = true;
    if (!polls) waiters_.push_back(request);
  }
  while (true) {
    const Wait wait = polls ? Poll(*request, end) : request->AwaitWakeUp(end);
    MutexLock lock(&mutex_);
    if (polls) is_polled_ = false;
    waiters_.remove(request);
    if (request->is_answered() || wait != Wait::kWokenUp) {
      PassOn();
      return request->is_answered() ? Wait::kWokenUp : wait;
    }
    polls = !is_polled_;
    if (polls) is_polled_ = true;
    if (!polls) waiters_.push_back(request);
  }
}

EventLoop::Wait EventLoop::Poll(const BlockingRequest& request, const timespec& end) {
  void* tag = nullptr;
  bool ok = false;
  while (!request.is_answered()) {
    const int64_t left = NanosecondsUntil(end);
    if (left <= 0) return Wait::kTimedOut;
    switch (queue_.AsyncNext(&tag, &ok, After(std::min(left, kSignalsLookNanoseconds)))) {
      case grpc::CompletionQueue::GOT_EVENT:
        static_cast<Event*>(tag)->OnEvent(ok);
        break;
      default:
        return Wait::kInterrupted;
    }
  }
  return Wait::kWokenUp;
}

void EventLoop::PassOn() {
  if (is_polled_) return;
  for (auto each = waiters_.begin(); each != waiters_.end(); ++each) {
    if ((*each)->is_answered()) continue;
    (*each)->WakeUp();
    waiters_.erase(each);
    return;
  }
  if (is_watched_ || is_stopped_) changed_.NotifyAll();
}

void EventLoop::BeginWatch() {
  MutexLock lock(&mutex_);
  is_watched_ = true;
  changed_.NotifyAll();
}

void EventLoop::Stop() {
  queue_.Shutdown();
  {
    MutexLock lock(&mutex_);
    is_stopped_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void EventLoop::Run() {
  BlockAllSignals();
  while (true) {
    {
      MutexLock lock(&mutex_);
      uint64_t seen = turns_ - 1;
      while (is_polled_ || (!is_watched_ && !is_stopped_ && seen != turns_)) {
        seen = turns_;
        changed_.WaitFor(&mutex_, kLeave);
      }
      is_polled_ = true;
    }
    const bool is_open = PollAlone();
    MutexLock lock(&mutex_);
    is_polled_ = false;
    PassOn();
    if (!is_open) return;
  }
}

bool EventLoop::PollAlone() {
  void* tag = nullptr;
  bool ok = false;
  bool may_be_quiet = true;
  while (true) {
    switch (queue_.AsyncNext(
        &tag, &ok, may_be_quiet ? After(kQuietNanoseconds) : gpr_inf_future(GPR_CLOCK_MONOTONIC))) {
      case grpc::CompletionQueue::SHUTDOWN:
        return false;
      case grpc::CompletionQueue::TIMEOUT:
        may_be_quiet = on_quiet_();
        break;
      case grpc::CompletionQueue::GOT_EVENT:
        static_cast<Event*>(tag)->OnEvent(ok);
        may_be_quiet = true;
    }
    MutexLock lock(&mutex_);
    if (!waiters_.empty()) return true;
  }
}

}  // namespace mayfly::python
