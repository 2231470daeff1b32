// An OutputFeed waits for outputs on a StreamOutputs stream that it opens when there is something
// to wait for, and opens anew, after a growing pause, when it breaks: then it subscribes again what
// it has not told of. Acks and releases of what the stream has brought ride on it.
//
// Subscriptions, credit, acks and releases leave with the next message; what callbacks ask for
// leaves together (Dispatcher). Thread-safe.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "base/mutex.h"
#include "client/bidi_stream.h"
#include "client/core.h"
#include "client/timer.h"
#include "mayfly/call.h"
#include "mayfly/client_options.h"

namespace mayfly::client {

class OutputFeed : public Flushable,
                   public BidiStream<v1::StreamOutputsRequest, v1::StreamOutputsResponse>::Owner,
                   public std::enable_shared_from_this<OutputFeed> {
 public:
  // Called on the core's thread.
  class Listener {
   public:
    virtual ~Listener() = default;
    // The output of a call that was waited for, claimed with `token`; the credit that it took is
    // the listener's to return.
    virtual void OnOutput(const std::string& token, v1::ClaimedOutput* output) = 0;
    // One that was not waited for: told before, or unsubscribed. Its credit is returned.
    virtual void OnStrayOutput(const Claim& claim) = 0;
    // A call that will have no output, or that cannot be waited for.
    virtual void OnEnded(const std::string& call_id, const absl::Status& status) = 0;
  };
  struct Settings {
    uint32_t window_items;
    uint64_t window_bytes;
    uint64_t message_data_bytes_max;  // larger outputs come without their data
    absl::Duration lease;
    RetryPolicy retry;
    size_t subscriptions_max;  // at a time; the rest follows when others were told of
  };
  // UNAVAILABLE: the stream broke before the answer.
  using AckDone = absl::AnyInvocable<void(absl::StatusOr<absl::Time>)>;
  using ReleaseDone = absl::AnyInvocable<void(absl::Status)>;

  static Settings SettingsOf(const ClientOptions& options);

  OutputFeed(const Settings& settings, std::weak_ptr<Listener> listener);
  ~OutputFeed() override;

  // Whoever waits holds the core.
  void Subscribe(const std::shared_ptr<Core>& core, const std::vector<std::string>& call_ids)
      EXCLUDES_LOCK(mutex_);
  void Unsubscribe(const std::vector<std::string>& call_ids) EXCLUDES_LOCK(mutex_);
  // False, and nothing happens, when the claim is not one of the stream as it is now.
  bool Ack(const Claim& claim, AckDone* done) EXCLUDES_LOCK(mutex_);
  bool Release(const Claim& claim, ReleaseDone* done) EXCLUDES_LOCK(mutex_);
  // Of outputs that OnOutput brought and that are out of the window now.
  void ReturnCredit(uint32_t items, uint64_t bytes) EXCLUDES_LOCK(mutex_);
  // Ends the stream, which releases what was not acknowledged; nothing is told of any more.
  void Close() EXCLUDES_LOCK(mutex_);

  void Flush() override EXCLUDES_LOCK(mutex_);
  void OnWritable() override EXCLUDES_LOCK(mutex_);
  Completion::Then OnResponse(v1::StreamOutputsResponse* response) override EXCLUDES_LOCK(mutex_);
  Completion::Then OnBroken(const absl::Status& status) override EXCLUDES_LOCK(mutex_);

 private:
  using Stream = BidiStream<v1::StreamOutputsRequest, v1::StreamOutputsResponse>;
  struct QueuedAck {
    Claim claim;
    AckDone done;
  };
  struct QueuedRelease {
    Claim claim;
    ReleaseDone done;
  };

  // Returns what to call without the lock, if anything.
  std::shared_ptr<Dispatcher> RequestFlush() REQUIRES_LOCK(mutex_);
  // False if nobody waited for the call.
  bool StopWaiting(const std::string& call_id) REQUIRES_LOCK(mutex_);
  void FlushWith(const std::shared_ptr<Dispatcher>& dispatcher);
  void StartStream(const std::shared_ptr<Core>& core) REQUIRES_LOCK(mutex_);
  bool FillRequest() REQUIRES_LOCK(mutex_);
  void FillSubscriptions() REQUIRES_LOCK(mutex_);
  void FillCredit() REQUIRES_LOCK(mutex_);
  bool IsOfStream(const Claim& claim) REQUIRES_LOCK(mutex_);
  void ScheduleStream(const absl::Status& status) REQUIRES_LOCK(mutex_);

  const Settings settings_;
  const std::weak_ptr<Listener> listener_;
  std::shared_ptr<Timer> timer_;

  Mutex mutex_;
  // Never dropped under the lock: the last to drop the core closes the feed.
  std::weak_ptr<Core> core_ GUARDED_BY(mutex_);
  std::weak_ptr<Dispatcher> dispatcher_ GUARDED_BY(mutex_);
  bool closed_ GUARDED_BY(mutex_) = false;
  bool flush_requested_ GUARDED_BY(mutex_) = false;
  // True: subscribed on the stream as it is now.
  absl::flat_hash_map<std::string, bool> waiting_ GUARDED_BY(mutex_);
  size_t subscribed_count_ GUARDED_BY(mutex_) = 0;
  // How much of the window is taken: under way as far as the feed knows, or with the listener.
  uint32_t taken_items_ GUARDED_BY(mutex_) = 0;
  uint64_t taken_bytes_ GUARDED_BY(mutex_) = 0;

  // The stream, and what is to be written to it.
  std::shared_ptr<Stream> stream_ GUARDED_BY(mutex_);
  bool writable_ GUARDED_BY(mutex_) = false;
  bool opened_ GUARDED_BY(mutex_) = false;
  int failures_ GUARDED_BY(mutex_) = 0;  // since something came
  absl::Duration start_at_ GUARDED_BY(mutex_) = absl::ZeroDuration();
  std::string token_ GUARDED_BY(mutex_);
  v1::StreamOutputsRequest request_ GUARDED_BY(mutex_);
  std::deque<std::string> to_subscribe_ GUARDED_BY(mutex_);
  std::deque<std::string> to_unsubscribe_ GUARDED_BY(mutex_);
  std::deque<QueuedAck> to_ack_ GUARDED_BY(mutex_);
  std::deque<QueuedRelease> to_release_ GUARDED_BY(mutex_);
  uint32_t credit_items_ GUARDED_BY(mutex_) = 0;
  uint64_t credit_bytes_ GUARDED_BY(mutex_) = 0;
  // Written, in order, and not answered.
  std::deque<AckDone> acks_ GUARDED_BY(mutex_);
  std::deque<ReleaseDone> releases_ GUARDED_BY(mutex_);
};

}  // namespace mayfly::client
