// The Reception is what is behind an OutputStream: a feed of its own, the outputs that were
// delivered and are held, and the events that wait to be taken.
//
// It lives until its last ack is answered, and holds the core that long. Thread-safe.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"

#include "base/mutex.h"
#include "client/cancellation.h"
#include "client/core.h"
#include "client/holdings.h"
#include "client/output_feed.h"
#include "mayfly/output_stream.h"

namespace mayfly::client {

class OutputStream::Reception : public OutputFeed::Listener,
                                public std::enable_shared_from_this<Reception> {
 public:
  // `on_event` null: Next takes the events.
  static std::shared_ptr<Reception> New(std::shared_ptr<Core> core,
                                        const OutputStreamOptions& options, OnEvent on_event);

  void Subscribe(std::vector<std::string> call_ids) EXCLUDES_LOCK(mutex_);
  void Unsubscribe(const std::vector<std::string>& call_ids) EXCLUDES_LOCK(mutex_);
  absl::StatusOr<OutputEvent> Next(absl::Duration wait) EXCLUDES_LOCK(mutex_);
  void Ack(const Claim& claim, OnAck done) EXCLUDES_LOCK(mutex_);  // null: Flush tells
  void Release(const Claim& claim) EXCLUDES_LOCK(mutex_);
  absl::Status Flush(absl::Duration timeout) EXCLUDES_LOCK(mutex_);
  size_t PendingCount() EXCLUDES_LOCK(mutex_);
  // The owner is gone, or cancels.
  void Close(bool is_cancelled) EXCLUDES_LOCK(mutex_);

  void OnOutput(const std::string& token, v1::ClaimedOutput* output) override;
  void OnStrayOutput(const Claim& claim) override;
  void OnEnded(const std::string& call_id, const absl::Status& status) override;

 private:
  struct Event {
    OutputEvent event;
    uint64_t credit_bytes = 0;
    bool has_credit = false;
    uint64_t brought_bytes = 0;  // by a download
  };

  Reception(std::shared_ptr<Core> core, const OutputStreamOptions& options, OnEvent on_event)
      : core_(std::move(core)), options_(options), on_event_(std::move(on_event)) {}

  // Of the large outputs those that fit into the window, and one if none does.
  void StartDownloads() EXCLUDES_LOCK(mutex_);
  void StartDownload(ClaimedOutput notice);
  void OnDownloaded(const ClaimedOutput& notice, absl::StatusOr<ClaimedOutput> whole)
      EXCLUDES_LOCK(mutex_);
  void Deliver(Event event) EXCLUDES_LOCK(mutex_);
  // It is out of the window.
  void Settle(const Event& event) EXCLUDES_LOCK(mutex_);
  void OnAnswered(const absl::Status& status) EXCLUDES_LOCK(mutex_);

  const std::shared_ptr<Core> core_;
  const OutputStreamOptions options_;
  OnEvent on_event_;  // the core's thread's
  std::shared_ptr<OutputFeed> feed_;
  std::shared_ptr<Holdings> holdings_;
  CancellationHook hook_;
  const Cancellation downloads_;  // ends them

  Mutex mutex_;
  ConditionVariable changed_;
  bool closed_ GUARDED_BY(mutex_) = false;
  bool cancelled_ GUARDED_BY(mutex_) = false;
  absl::flat_hash_set<std::string> untold_ GUARDED_BY(mutex_);  // subscribed, not delivered
  std::deque<Event> events_ GUARDED_BY(mutex_);
  std::deque<ClaimedOutput> to_download_ GUARDED_BY(mutex_);
  uint64_t brought_bytes_ GUARDED_BY(mutex_) = 0;  // downloaded, or being, and not taken
  size_t unanswered_ GUARDED_BY(mutex_) = 0;       // acks and releases
  absl::Status ack_error_ GUARDED_BY(mutex_);
};

}  // namespace mayfly::client
