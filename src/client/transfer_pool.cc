#include "client/transfer_pool.h"

#include <utility>

namespace mayfly::client {

TransferPool::~TransferPool() {
  std::vector<std::thread> threads;
  {
    MutexLock lock(&mutex_);
    stopped_ = true;
    threads.swap(threads_);
    changed_.NotifyAll();
  }
  for (std::thread& thread : threads) thread.join();
}

void TransferPool::Start(absl::AnyInvocable<void()> transfer) {
  MutexLock lock(&mutex_);
  waiting_.push_back(std::move(transfer));
  const bool all_busy = static_cast<int>(waiting_.size()) > idle_;
  if (all_busy && static_cast<int>(threads_.size()) < threads_max_) {
    threads_.emplace_back([this] { Run(); });
  }
  changed_.NotifyOne();
}

void TransferPool::Run() {
  while (true) {
    absl::AnyInvocable<void()> transfer;
    {
      MutexLock lock(&mutex_);
      ++idle_;
      while (waiting_.empty() && !stopped_) changed_.Wait(&mutex_);
      --idle_;
      if (waiting_.empty()) return;
      transfer = std::move(waiting_.front());
      waiting_.pop_front();
    }
    transfer();
  }
}

}  // namespace mayfly::client
