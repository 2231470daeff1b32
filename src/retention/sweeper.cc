#include "retention/sweeper.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/error.h"

namespace mayfly {
namespace {

constexpr size_t kPageMax = 4096;

}  // namespace

Sweeper::Sweeper(DueSource* source, ExpirySink* sink, size_t batch_max)
    : source_(source), sink_(sink), batch_max_(batch_max) {}

absl::StatusOr<bool> Sweeper::Advance(const Now& now) {
  if (now.erase_ms == Now::kNeverMs) return false;
  MoveTo(now.erase_ms);
  auto loaded_more = LoadPage(now.erase_ms / 1000);
  RETURN_IF_ERROR(loaded_more.status());

  std::vector<DuePayload> batch;
  {
    MutexLock lock(&mutex_);
    std::vector<uint64_t> due;
    wheel_->Advance(now.erase_ms, batch_max_, &due);
    batch.reserve(due.size());
    for (const uint64_t place : due) {
      batch.push_back(held_[place]);
      free_.push_back(place);
    }
    if (batch.size() < batch_max_ && stretch_is_loaded_ && retry_ms_ <= now.erase_ms) {
      swept_ms_ = now.erase_ms;
    }
  }
  if (batch.empty()) return *loaded_more;
  const std::vector<DuePayload> refused = sink_->Expire(batch);
  if (!refused.empty()) HoldAgain(refused);
  return *loaded_more || (refused.empty() && batch.size() == batch_max_);
}

void Sweeper::HoldAgain(absl::Span<const DuePayload> refused) {
  MutexLock lock(&mutex_);
  retry_ms_ = present_ms_ + kRetryMs;
  for (const DuePayload& payload : refused) {
    Hold(payload, retry_ms_);
    swept_ms_ = std::min(swept_ms_, payload.due_s * 1000);
  }
}

// Call before loading, or payloads that fall due after a jump ahead would be beyond the wheel.
void Sweeper::MoveTo(int64_t now_ms) {
  MutexLock lock(&mutex_);
  // Time went back. Payloads submitted since then are still on disk if they were not due after all,
  // and payloads that fall due in between must not count as loaded.
  if (wheel_ && now_ms < present_ms_) {
    wheel_.reset();
    held_.clear();
    free_.clear();
    loaded_until_s_ = kNothingLoaded;
    swept_ms_ = std::min(swept_ms_, now_ms);
    retry_ms_ = now_ms;
    cursor_.reset();
    stretch_is_loaded_ = true;
  }
  present_ms_ = now_ms;
  if (!wheel_) wheel_.emplace(TimerWheel::Options{.start_ms = now_ms});
  std::vector<uint64_t> none;
  wheel_->Advance(now_ms, /*limit=*/0, &none);
}

// Reads at most one page. Returns true if the stretch has more and there is room for it.
absl::StatusOr<bool> Sweeper::LoadPage(int64_t now_s) {
  int64_t until_s;
  {
    MutexLock lock(&mutex_);
    if (held_.size() - free_.size() + kPageMax > kLoadedMax) return false;
    if (stretch_is_loaded_) {
      if (loaded_until_s_ >= now_s + kLookAheadS) return false;
      stretch_from_s_ = loaded_until_s_ + 1;
      // Set before the rows are read: a payload stored in the meantime is either among them or
      // added by OnStored; adding it twice is harmless.
      loaded_until_s_ = now_s + kLookAheadS;
      stretch_is_loaded_ = false;
      cursor_.reset();
    }
    until_s = loaded_until_s_;
  }
  const auto page = source_->Due(stretch_from_s_, until_s, kPageMax, cursor_);
  RETURN_IF_ERROR(page.status());
  MutexLock lock(&mutex_);
  for (const DuePayload& payload : *page) Hold(payload, payload.due_s * 1000);
  stretch_is_loaded_ = page->size() < kPageMax;
  if (!page->empty()) cursor_ = page->back();
  return !stretch_is_loaded_;
}

void Sweeper::OnStored(const DuePayload& payload) {
  MutexLock lock(&mutex_);
  if (payload.due_s <= loaded_until_s_) Hold(payload, payload.due_s * 1000);
}

void Sweeper::Hold(const DuePayload& payload, int64_t due_ms) {
  uint64_t place = held_.size();
  if (free_.empty()) {
    held_.push_back(payload);
  } else {
    place = free_.back();
    free_.pop_back();
    held_[place] = payload;
  }
  const bool is_scheduled = wheel_->Schedule(due_ms, place).has_value();
  Check(is_scheduled, "what falls due within the look-ahead fits the wheel");
}

int64_t Sweeper::lag_ms(const Now& now) {
  MutexLock lock(&mutex_);
  return std::max<int64_t>(0, now.read_ms - swept_ms_);
}

}  // namespace mayfly
