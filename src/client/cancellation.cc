#include "client/cancellation.h"

#include <utility>

namespace mayfly::client {

absl::Status CancelledByCaller() { return absl::CancelledError("cancelled by the caller"); }

Cancellation::Cancellation() : state_(std::make_shared<State>()) {}

void Cancellation::Cancel() const { state_->Cancel(); }

bool Cancellation::IsCancelled() const { return state_->IsCancelled(); }

uint64_t Cancellation::State::Add(absl::AnyInvocable<void()> hook) {
  {
    MutexLock lock(&mutex_);
    if (!cancelled_) {
      hooks_.emplace(next_id_, std::move(hook));
      return next_id_++;
    }
  }
  hook();
  return 0;
}

void Cancellation::State::Remove(uint64_t id) {
  absl::AnyInvocable<void()> removed;  // destroyed without the lock
  MutexLock lock(&mutex_);
  const auto found = hooks_.find(id);
  if (found == hooks_.end()) return;
  removed = std::move(found->second);
  hooks_.erase(found);
}

void Cancellation::State::Cancel() {
  std::map<uint64_t, absl::AnyInvocable<void()>> hooks;
  {
    MutexLock lock(&mutex_);
    cancelled_ = true;
    hooks.swap(hooks_);
  }
  for (auto& [id, hook] : hooks) hook();
}

bool Cancellation::State::IsCancelled() {
  MutexLock lock(&mutex_);
  return cancelled_;
}

CancellationHook::CancellationHook(const std::optional<Cancellation>& cancellation,
                                   absl::AnyInvocable<void()> hook) {
  if (!cancellation.has_value()) return;
  state_ = cancellation->state();
  id_ = state_->Add(std::move(hook));
}

CancellationHook::CancellationHook(CancellationHook&& other) noexcept
    : state_(std::move(other.state_)), id_(other.id_) {
  other.state_ = nullptr;
}

CancellationHook& CancellationHook::operator=(CancellationHook&& other) noexcept {
  std::swap(state_, other.state_);
  std::swap(id_, other.id_);
  return *this;
}

CancellationHook::~CancellationHook() {
  if (state_ != nullptr) state_->Remove(id_);
}

}  // namespace mayfly::client
