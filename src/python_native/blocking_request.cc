#include "python_native/blocking_request.h"

#include <cerrno>

namespace mayfly::python {

BlockingRequest::Wait BlockingRequest::AwaitWakeUp(const timespec& end) {
  if (sem_clockwait(&woken_up_, CLOCK_MONOTONIC, &end) == 0) return Wait::kWokenUp;
  return errno == EINTR ? Wait::kInterrupted : Wait::kTimedOut;
}

}  // namespace mayfly::python
