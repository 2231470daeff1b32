// An OutputFeed waits for outputs on a StreamOutputs stream.
//
// It opens the stream when there is something to wait for. When the stream breaks it opens another
// one, after a growing pause, and subscribes again the calls that are still waited for.
// Acks and releases of outputs are written to the stream that delivered them. Requests of callbacks
// leave in one message (Dispatcher). Thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "base/mutex.h"
#include "client/core.h"
#include "client/deadlines.h"
#include "client/feed_queue.h"
#include "client/rpc_stream.h"
#include "mayfly/call.h"
#include "mayfly/client_options.h"

namespace mayfly::client {

class OutputFeed : public Flushable,
                   public Deadlines::Listener,
                   public RpcStream<v1::StreamOutputsRequest, v1::StreamOutputsResponse>::Owner,
                   public std::enable_shared_from_this<OutputFeed> {
 public:
  // Called on the core's thread.
  class Listener {
   public:
    virtual ~Listener() = default;
    // The output of a call that was waited for, claimed with `token`. The listener returns its
    // credit.
    virtual void OnOutput(const std::string& token, v1::ClaimedOutput* output) = 0;
    // An output that was not waited for, because it was brought before or its call was
    // unsubscribed. Its credit is returned.
    virtual void OnStrayOutput(const Claim& claim) = 0;
    // A call that will have no output, or that cannot be waited for.
    virtual void OnEnded(const std::string& call_id, const absl::Status& status) = 0;
  };
  struct Settings : FeedQueue::Settings {
    RetryPolicy retry;
  };
  // UNAVAILABLE: the stream broke before the answer.
  using AckDone = FeedQueue::AckDone;
  using ReleaseDone = FeedQueue::ReleaseDone;

  static Settings SettingsOf(const ClientOptions& options);

  OutputFeed(const Settings& settings, std::shared_ptr<Deadlines> deadlines,
             std::weak_ptr<Listener> listener);
  ~OutputFeed() override;

  // Callers hold the core for as long as they wait.
  void Subscribe(const std::shared_ptr<Core>& core, const std::vector<std::string>& call_ids)
      EXCLUDES_LOCK(mutex_);
  void Unsubscribe(const std::vector<std::string>& call_ids) EXCLUDES_LOCK(mutex_);
  // False, and nothing happens, when the claim was not made by the stream as it is now.
  bool Ack(const Claim& claim, AckDone* done) EXCLUDES_LOCK(mutex_);
  bool Release(const Claim& claim, ReleaseDone* done) EXCLUDES_LOCK(mutex_);
  // Of outputs that were passed to OnOutput and have left the window.
  void ReturnCredit(uint32_t items, uint64_t bytes) EXCLUDES_LOCK(mutex_);
  // Ends the stream, which releases the outputs that were not acknowledged. The listener is not
  // called any more.
  void Close() EXCLUDES_LOCK(mutex_);

  void Flush() override EXCLUDES_LOCK(mutex_);
  // The pause before the next stream is over.
  void OnDeadline() override EXCLUDES_LOCK(mutex_);
  void OnWritable() override EXCLUDES_LOCK(mutex_);
  Completion::Then OnResponse(v1::StreamOutputsResponse* response) override EXCLUDES_LOCK(mutex_);
  Completion::Then OnBroken(const absl::Status& status) override EXCLUDES_LOCK(mutex_);

 private:
  using Stream = RpcStream<v1::StreamOutputsRequest, v1::StreamOutputsResponse>;

  // The result is passed to FlushWith without the lock.
  std::shared_ptr<Dispatcher> RequestFlush() REQUIRES_LOCK(mutex_);
  void FlushWith(const std::shared_ptr<Dispatcher>& dispatcher);
  void StartStream(const std::shared_ptr<Core>& core) REQUIRES_LOCK(mutex_);
  bool IsOfStream(const Claim& claim) REQUIRES_LOCK(mutex_);
  absl::Status Explain(const absl::Status& status) EXCLUDES_LOCK(mutex_);
  // To the listener.
  void Bring(const FeedQueue::Answered& answered, v1::StreamOutputsResponse* response);

  const RetryPolicy retry_;
  const std::weak_ptr<Listener> listener_;

  Mutex mutex_;
  // Never dropped under the lock: the last to drop the core closes the feed.
  std::weak_ptr<Core> core_ GUARDED_BY(mutex_);
  std::weak_ptr<Dispatcher> dispatcher_ GUARDED_BY(mutex_);
  bool closed_ GUARDED_BY(mutex_) = false;
  bool flush_requested_ GUARDED_BY(mutex_) = false;
  FeedQueue queue_ GUARDED_BY(mutex_);
  std::shared_ptr<Connections::Stub> stub_ GUARDED_BY(mutex_);  // of stream_
  std::shared_ptr<Stream> stream_ GUARDED_BY(mutex_);
  bool writable_ GUARDED_BY(mutex_) = false;
  int failures_ GUARDED_BY(mutex_) = 0;  // since something came
  absl::Duration start_at_ GUARDED_BY(mutex_) = absl::ZeroDuration();
  Deadline start_deadline_ GUARDED_BY(mutex_);
};

}  // namespace mayfly::client
