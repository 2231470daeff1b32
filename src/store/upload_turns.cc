#include "store/upload_turns.h"

namespace mayfly {

uint64_t UploadTurns::Enter() {
  MutexLock lock(&mutex_);
  uploads_.insert(++last_number_);
  return last_number_;
}

void UploadTurns::Leave(uint64_t number) {
  MutexLock lock(&mutex_);
  uploads_.erase(number);
  short_.erase(number);
}

bool UploadTurns::MayTake(uint64_t number) const {
  MutexLock lock(&mutex_);
  return short_.empty() || number <= short_.begin()->first;
}

bool UploadTurns::MayBegin(int64_t now_ms) const {
  MutexLock lock(&mutex_);
  return short_.empty() && !IsReclaiming(now_ms);
}

void UploadTurns::OnRoom(uint64_t number) {
  MutexLock lock(&mutex_);
  short_.erase(number);
}

UploadTurns::Shortage UploadTurns::OnNoRoom(uint64_t number, int64_t now_ms) {
  MutexLock lock(&mutex_);
  const bool is_alone = uploads_.size() <= 1;
  if (is_alone && !IsReclaiming(now_ms)) return {};
  short_[number] = now_ms;
  if (is_alone || IsReclaiming(now_ms)) return {.waits = true};
  gave_way_ms_ = now_ms;
  const uint64_t youngest = *uploads_.rbegin();
  uploads_.erase(youngest);
  short_.erase(youngest);
  return {.waits = youngest != number, .gives_way = youngest};
}

void UploadTurns::Forget(int64_t now_ms) {
  MutexLock lock(&mutex_);
  absl::erase_if(short_,
                 [now_ms](const auto& entry) { return entry.second + kForgetMs <= now_ms; });
}

}  // namespace mayfly
