#include "python_native/blocking_request.h"

#include <cerrno>

namespace mayfly::python {

BlockingRequest::Wait BlockingRequest::AwaitAnswer(const timespec& end) {
  if (sem_clockwait(&answered_, CLOCK_MONOTONIC, &end) == 0) return Wait::kAnswered;
  return errno == EINTR ? Wait::kInterrupted : Wait::kTimedOut;
}

}  // namespace mayfly::python
