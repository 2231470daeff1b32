#include "client/windowed_downloads.h"

#include <vector>

#include "client/download_transfer.h"
#include "client/transfer_pool.h"

namespace mayfly::client {

void WindowedDownloads::Add(const std::shared_ptr<Core>& core, ClaimedOutput announced) {
  {
    MutexLock lock(&mutex_);
    if (closed_) return;
    waiting_.push_back(std::move(announced));
  }
  StartWhatFits(core);
}

void WindowedDownloads::ReturnBytes(const std::shared_ptr<Core>& core, uint64_t bytes) {
  {
    MutexLock lock(&mutex_);
    bytes_in_window_ -= bytes;
  }
  StartWhatFits(core);
}

void WindowedDownloads::Close() {
  std::deque<ClaimedOutput> waiting;  // destroyed without the lock
  {
    MutexLock lock(&mutex_);
    closed_ = true;
    waiting.swap(waiting_);
  }
  cancellation_.Cancel();
}

void WindowedDownloads::StartWhatFits(const std::shared_ptr<Core>& core) {
  std::vector<ClaimedOutput> starting;
  {
    MutexLock lock(&mutex_);
    while (!waiting_.empty()) {
      const uint64_t bytes = waiting_.front().size_bytes;
      if (bytes_in_window_ > 0 && bytes_in_window_ + bytes > window_bytes_) break;
      bytes_in_window_ += bytes;
      starting.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
    }
  }
  for (ClaimedOutput& announced : starting) Start(core, std::move(announced));
}

void WindowedDownloads::Start(std::shared_ptr<Core> core, ClaimedOutput announced) {
  TransferPool* const pool = core->transfer_pool();
  pool->Start([self = shared_from_this(), core = std::move(core),
               announced = std::move(announced)]() mutable {
    absl::StatusOr<ClaimedOutput> whole = DownloadOutputToMemory(
        core, announced, self->data_bytes_max_,
        {.timeout = absl::ZeroDuration(), .cancellation = self->cancellation_});
    const std::shared_ptr<Dispatcher> dispatcher = core->dispatcher();
    // The core must not be destroyed on one of its own transfer threads.
    Dispatcher::Post(dispatcher,
                     [self = std::move(self), core = std::move(core),
                      announced = std::move(announced), whole = std::move(whole)]() mutable {
                       self->on_downloaded_(announced, std::move(whole));
                     });
  });
}

}  // namespace mayfly::client
