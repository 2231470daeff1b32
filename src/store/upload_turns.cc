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

bool UploadTurns::MayBegin() const {
  MutexLock lock(&mutex_);
  return short_.empty();
}

void UploadTurns::OnRoom(uint64_t number) {
  MutexLock lock(&mutex_);
  short_.erase(number);
}

std::optional<uint64_t> UploadTurns::OnNoRoom(uint64_t number, int64_t now_ms) {
  MutexLock lock(&mutex_);
  if (!uploads_.contains(number)) return std::nullopt;
  short_[number] = now_ms;
  const uint64_t youngest = *uploads_.rbegin();
  if (youngest == number) return std::nullopt;
  if (gave_way_ms_.has_value() && now_ms < *gave_way_ms_ + kReclaimMs) return std::nullopt;
  gave_way_ms_ = now_ms;
  uploads_.erase(youngest);
  short_.erase(youngest);
  return youngest;
}

void UploadTurns::Forget(int64_t now_ms) {
  MutexLock lock(&mutex_);
  absl::erase_if(short_,
                 [now_ms](const auto& entry) { return entry.second + kForgetMs <= now_ms; });
}

}  // namespace mayfly
