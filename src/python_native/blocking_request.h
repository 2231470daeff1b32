// A BlockingRequest is waited for by a thread.
#pragma once

#include <atomic>
#include <ctime>
#include <semaphore.h>

#include "python_native/request.h"

namespace mayfly::python {

class BlockingRequest : public Request {
 public:
  enum class Wait { kWokenUp, kTimedOut, kInterrupted };

  explicit BlockingRequest(int method) : Request(method) { sem_init(&woken_up_, 0, 0); }
  ~BlockingRequest() override { sem_destroy(&woken_up_); }

  bool is_answered() const { return is_answered_.load(std::memory_order_acquire); }
  // Until it is answered or somebody calls WakeUp, or until `end` of CLOCK_MONOTONIC. Interrupted: a
  // signal may have arrived at this thread.
  Wait AwaitWakeUp(const timespec& end);
  void WakeUp() { sem_post(&woken_up_); }

 private:
  void OnAnswer() override {
    is_answered_.store(true, std::memory_order_release);
    WakeUp();
  }

  std::atomic<bool> is_answered_ = false;
  sem_t woken_up_;
};

}  // namespace mayfly::python
