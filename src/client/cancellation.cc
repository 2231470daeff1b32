#include "client/cancellation.h"

#include <utility>

#include "client/dispatcher.h"
#include "client/operation.h"

namespace mayfly::client {

Cancellation::Cancellation() : state_(std::make_shared<State>()) {}

void Cancellation::Cancel() const { state_->Cancel(); }

bool Cancellation::IsCancelled() const { return state_->IsCancelled(); }

uint64_t Cancellation::State::Add(std::weak_ptr<Dispatcher> dispatcher,
                                  std::weak_ptr<Operation> operation) {
  MutexLock lock(&mutex_);
  if (cancelled_) return kCancelled;
  registered_.emplace(
      next_id_, Registered{.dispatcher = std::move(dispatcher), .operation = std::move(operation)});
  return next_id_++;
}

void Cancellation::State::Remove(uint64_t id) {
  MutexLock lock(&mutex_);
  registered_.erase(id);
}

void Cancellation::State::Cancel() {
  std::map<uint64_t, Registered> registered;
  {
    MutexLock lock(&mutex_);
    cancelled_ = true;
    registered.swap(registered_);
  }
  for (const auto& [id, each] : registered) {
    const auto dispatcher = each.dispatcher.lock();
    if (dispatcher == nullptr) continue;
    Dispatcher::Post(dispatcher, [weak = each.operation] {
      if (const auto operation = weak.lock()) operation->CancelNow();
    });
  }
}

bool Cancellation::State::IsCancelled() {
  MutexLock lock(&mutex_);
  return cancelled_;
}

}  // namespace mayfly::client
