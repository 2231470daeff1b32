#include "python_native/request.h"

#include <utility>

namespace mayfly::python {

bool Request::TakeAnswer(Answer&& answer) {
  {
    MutexLock lock(&mutex_);
    if (state_ == State::kAbandoned) return false;
    answer_ = std::move(answer);
    state_ = State::kAnswered;
  }
  OnAnswer();
  return true;
}

bool Request::Abandon(absl::string_view request) {
  MutexLock lock(&mutex_);
  if (state_ == State::kAnswered) return false;
  abandoned_request_ = std::string(request);
  state_ = State::kAbandoned;
  return true;
}

}  // namespace mayfly::python
