// An OutputStream::State does the work of an OutputStream. It has a feed of its own, holds the
// outputs that were delivered, and keeps the events that wait to be taken.
//
// It lives until its last ack is answered, and holds the core until then. Thread-safe.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"

#include "base/mutex.h"
#include "client/core.h"
#include "client/holdings.h"
#include "client/operation.h"
#include "client/output_feed.h"
#include "client/windowed_downloads.h"
#include "mayfly/output_stream.h"

namespace mayfly::client {

class OutputStream::State : public Operation, public OutputFeed::Listener {
 public:
  // With `on_event` null, Next takes the events.
  static std::shared_ptr<State> New(std::shared_ptr<Core> core, const OutputStreamOptions& options,
                                    OnEvent on_event);

  void Subscribe(std::vector<std::string> call_ids) EXCLUDES_LOCK(mutex_);
  void Unsubscribe(const std::vector<std::string>& call_ids) EXCLUDES_LOCK(mutex_);
  absl::StatusOr<OutputEvent> Next(absl::Duration wait) EXCLUDES_LOCK(mutex_);
  void Ack(const Claim& claim, OnAck done) EXCLUDES_LOCK(mutex_);  // null: errors are Flush's
  void Release(const Claim& claim) EXCLUDES_LOCK(mutex_);
  absl::Status Flush(absl::Duration timeout) EXCLUDES_LOCK(mutex_);
  size_t PendingCount() EXCLUDES_LOCK(mutex_);
  // When the OutputStream is destroyed or cancelled.
  void Close(bool is_cancelled) EXCLUDES_LOCK(mutex_);
  // After Close: until no event is with the callback. Does not wait inside the callback.
  void WaitForCallback() EXCLUDES_LOCK(mutex_);

  void OnOutput(const std::string& token, v1::ClaimedOutput* output) override;
  void OnStrayOutput(const Claim& claim) override;
  void OnEnded(const std::string& call_id, const absl::Status& status) override;

 private:
  // An event, and the part of the window that it takes.
  struct Event {
    OutputEvent event;
    uint64_t credit_bytes = 0;
    bool has_credit = false;
    uint64_t downloaded_bytes = 0;
  };

  State(std::shared_ptr<Core> core, const OutputStreamOptions& options, OnEvent on_event)
      : Operation(*core),
        core_(std::move(core)),
        options_(options),
        on_event_(std::move(on_event)) {}

  void OnCancel() override { Close(/*is_cancelled=*/true); }
  void OnDeadline() override {}  // it has none

  void OnDownloaded(const ClaimedOutput& announced, absl::StatusOr<ClaimedOutput> whole)
      EXCLUDES_LOCK(mutex_);
  void Deliver(Event event) EXCLUDES_LOCK(mutex_);
  // The event leaves the window.
  void ReturnCredit(const Event& event);
  void OnAnswered(const absl::Status& status) EXCLUDES_LOCK(mutex_);

  const std::shared_ptr<Core> core_;
  const OutputStreamOptions options_;
  OnEvent on_event_;  // the core's thread's
  std::shared_ptr<OutputFeed> feed_;
  std::shared_ptr<Holdings> holdings_;
  std::shared_ptr<WindowedDownloads> downloads_;

  Mutex mutex_;
  ConditionVariable changed_;
  bool closed_ GUARDED_BY(mutex_) = false;
  bool in_callback_ GUARDED_BY(mutex_) = false;                      // on_event_ runs
  absl::flat_hash_set<std::string> undelivered_ GUARDED_BY(mutex_);  // subscribed call ids
  std::deque<Event> events_ GUARDED_BY(mutex_);
  size_t unanswered_ GUARDED_BY(mutex_) = 0;  // acks and releases
  absl::Status ack_error_ GUARDED_BY(mutex_);
};

}  // namespace mayfly::client
