// A SignalWatch makes an Interruption of the signals that end a program: SIGINT, SIGTERM and SIGHUP,
// unless they were ignored from the start, as under nohup. The second one ends the program at once.
//
// Made by the main thread before there are others, which inherit that these signals are blocked. The
// main thread's system calls that wait return EINTR, again and again, once it was interrupted.
#pragma once

#include <atomic>
#include <pthread.h>
#include <signal.h>
#include <thread>

#include "cli/interruption.h"

namespace mayfly::cli {

class SignalWatch {
 public:
  // `interruption` outlives this.
  explicit SignalWatch(Interruption* interruption);
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

  // Ends the program by the signal that has interrupted it, so that whoever started it learns of
  // that; returns if none has.
  void EndIfInterrupted() const;

 private:
  void Run();
  void WakeMainUntilTheEnd() const;

  Interruption* const interruption_;
  const pthread_t main_;
  sigset_t watched_;
  std::atomic<int> signal_ = 0;
  std::thread thread_;
};

}  // namespace mayfly::cli
