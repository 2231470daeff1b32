#include "store/poll.h"

#include <algorithm>

namespace mayfly {
namespace {

template <typename T>
void SortByRequest(std::vector<T>* items) {
  std::sort(items->begin(), items->end(),
            [](const T& a, const T& b) { return a.call.index < b.call.index; });
}

}  // namespace

bool Poll::Wants(const WantedCall&) { return !answered_; }

bool Poll::TakesOutput(const WantedCall&, uint64_t size_bytes) {
  if (outputs_.empty()) return true;
  return outputs_.size() < limits_.count_max && output_bytes_ + size_bytes <= limits_.bytes_max;
}

bool Poll::OnQuotaReached(const WantedCall&, absl::Status status) {
  refusal_ = std::move(status);
  return false;
}

void Poll::AddClaim(NewClaim claim) {
  output_bytes_ += claim.payload.size_bytes;
  outputs_.push_back(std::move(claim));
}

bool Poll::TakeEnd(NewEnd end) {
  ended_.push_back(std::move(end));
  return true;
}

bool Poll::IsReady() const {
  if (answered_ || shards_left_ > 0) return false;
  return !outputs_.empty() || !ended_.empty() || !refusal_.ok() || !terms().waits;
}

PollAnswer Poll::TakeAnswer(absl::Status status) {
  answered_ = true;
  SortByRequest(&outputs_);
  SortByRequest(&ended_);
  // The refusal for the claim limit is reported only when there is nothing else to report.
  if (status.ok() && outputs_.empty() && ended_.empty()) status = refusal_;
  const size_t told = outputs_.size() + ended_.size();
  return PollAnswer{.status = std::move(status),
                    .outputs = std::move(outputs_),
                    .ended = std::move(ended_),
                    .pending_count = limits_.call_count - static_cast<uint32_t>(told)};
}

void Poll::OnRegistered() {
  {
    MutexLock lock(&mutex_);
    --shards_left_;
  }
  OnOffered();
}

void Poll::OnOffered() {
  PollAnswer answer;
  {
    MutexLock lock(&mutex_);
    if (!IsReady()) return;
    answer = TakeAnswer(absl::OkStatus());
  }
  done_(std::move(answer));
}

bool Poll::OnTimer() {
  Answer(absl::OkStatus());
  return false;
}

void Poll::Answer(absl::Status status) {
  PollAnswer answer;
  {
    MutexLock lock(&mutex_);
    if (answered_) return;
    answer = TakeAnswer(std::move(status));
  }
  done_(std::move(answer));
}

std::vector<NewClaim> Poll::Cancel() {
  PollAnswer unheard;
  {
    MutexLock lock(&mutex_);
    if (answered_) return {};
    unheard = TakeAnswer(absl::OkStatus());
  }
  done_(PollAnswer{.status = absl::CancelledError("the poll was cancelled"),
                   .outputs = {},
                   .ended = {},
                   .pending_count = limits_.call_count});
  return std::move(unheard.outputs);
}

}  // namespace mayfly
