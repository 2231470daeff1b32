// A SignalWatch interrupts an Interruption on the signals that end a program: SIGINT, SIGTERM and
// SIGHUP, unless they were ignored from the start, as under nohup. A second signal ends the program
// at once.
//
// Create it in the main thread before other threads, which inherit the blocked signals. After an
// interruption, blocking system calls of the main thread return EINTR, repeatedly.
#pragma once

#include <atomic>
#include <pthread.h>
#include <signal.h>
#include <thread>

#include "cli/interruption.h"

namespace mayfly::cli {

class SignalWatch {
 public:
  // `interruption` must outlive this object.
  explicit SignalWatch(Interruption* interruption);
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

  // If a signal has interrupted it, ends the program by that signal, so that the parent process
  // sees it. Otherwise returns.
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
