// A BlockingRequest is waited for by a thread.
#pragma once

#include <ctime>
#include <semaphore.h>

#include "python_native/request.h"

namespace mayfly::python {

class BlockingRequest : public Request {
 public:
  enum class Wait { kAnswered, kTimedOut, kInterrupted };

  explicit BlockingRequest(int method) : Request(method) { sem_init(&answered_, 0, 0); }
  ~BlockingRequest() override { sem_destroy(&answered_); }

  // Until `end` of CLOCK_MONOTONIC. Interrupted: a signal may have arrived at this thread.
  Wait AwaitAnswer(const timespec& end);

 private:
  void OnAnswer() override { sem_post(&answered_); }

  sem_t answered_;
};

}  // namespace mayfly::python
