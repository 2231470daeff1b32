// WindowedDownloads bring the large outputs of a stream, whose data does not come in its messages:
// as many at a time as fit into the stream's window, and one that is larger than the window alone.
//
// Downloads block threads of the core's TransferPool.
#pragma once

#include <deque>
#include <memory>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"

#include "base/mutex.h"
#include "client/core.h"
#include "mayfly/call.h"
#include "mayfly/cancellation.h"

namespace mayfly::client {

// Thread-safe.
class WindowedDownloads : public std::enable_shared_from_this<WindowedDownloads> {
 public:
  // Called on the core's thread, with the output as it was announced and as it was downloaded.
  using OnDownloaded =
      absl::AnyInvocable<void(const ClaimedOutput& announced, absl::StatusOr<ClaimedOutput> whole)>;

  WindowedDownloads(uint64_t window_bytes, uint64_t data_bytes_max, OnDownloaded on_downloaded)
      : window_bytes_(window_bytes),
        data_bytes_max_(data_bytes_max),
        on_downloaded_(std::move(on_downloaded)) {}

  // Downloads an output as soon as it fits into the window. Its bytes stay there until they are
  // returned.
  void Add(const std::shared_ptr<Core>& core, ClaimedOutput announced) EXCLUDES_LOCK(mutex_);
  void ReturnBytes(const std::shared_ptr<Core>& core, uint64_t bytes) EXCLUDES_LOCK(mutex_);
  // Starts no more downloads, and cancels those under way.
  void Close() EXCLUDES_LOCK(mutex_);

 private:
  void StartWhatFits(const std::shared_ptr<Core>& core) EXCLUDES_LOCK(mutex_);
  void Start(std::shared_ptr<Core> core, ClaimedOutput announced);

  const uint64_t window_bytes_;
  const uint64_t data_bytes_max_;
  OnDownloaded on_downloaded_;  // the core's thread's
  const Cancellation cancellation_;

  Mutex mutex_;
  bool closed_ GUARDED_BY(mutex_) = false;
  std::deque<ClaimedOutput> waiting_ GUARDED_BY(mutex_);
  uint64_t bytes_in_window_ GUARDED_BY(mutex_) = 0;
};

}  // namespace mayfly::client
