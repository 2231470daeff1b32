#include "storage/local/sync_group.h"

#include <utility>

namespace mayfly {

SyncGroup::SyncGroup(std::function<absl::Status()> sync) : sync_(std::move(sync)) {}

absl::Status SyncGroup::Sync() {
  MutexLock lock(&mutex_);
  const uint64_t wanted = rounds_started_ + 1;
  while (rounds_finished_ < wanted && status_.ok()) {
    if (rounds_started_ != rounds_finished_) {
      finished_.Wait(&mutex_);
      continue;
    }
    ++rounds_started_;
    mutex_.Unlock();
    absl::Status status = sync_();
    mutex_.Lock();
    status_ = std::move(status);
    rounds_finished_ = rounds_started_;
    finished_.NotifyAll();
  }
  return status_;
}

}  // namespace mayfly
