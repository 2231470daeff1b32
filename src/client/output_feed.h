// An OutputFeed waits for outputs by a subscription on the core's session.
//
// It opens the subscription when there is something to wait for. When the session breaks it opens
// another one, after a growing pause, and subscribes again the calls that are still waited for;
// when the session has been used for long enough, it moves to the next. All its claims have one
// token, so that they outlive their session. Thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/time/time.h"

#include "base/mutex.h"
#include "client/core.h"
#include "client/deadlines.h"
#include "client/feed_queue.h"
#include "client/session.h"
#include "mayfly/call.h"
#include "mayfly/client_options.h"

namespace mayfly::client {

class OutputFeed : public Session::Feed,
                   public Deadlines::Listener,
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
  static Settings SettingsOf(const ClientOptions& options);

  OutputFeed(const Settings& settings, std::shared_ptr<Deadlines> deadlines,
             std::weak_ptr<Listener> listener);
  ~OutputFeed() override;

  // Callers hold the core for as long as they wait.
  void Subscribe(const std::shared_ptr<Core>& core, const std::vector<std::string>& call_ids)
      EXCLUDES_LOCK(mutex_);
  void Unsubscribe(const std::vector<std::string>& call_ids) EXCLUDES_LOCK(mutex_);
  // An output that was not waited for. `done` is not called when the last copy of the client is
  // gone.
  void ReleaseStray(const Claim& claim, absl::AnyInvocable<void(absl::Status)> done)
      EXCLUDES_LOCK(mutex_);
  // Of outputs that were passed to OnOutput and have left the window.
  void ReturnCredit(uint32_t items, uint64_t bytes) EXCLUDES_LOCK(mutex_);
  // Ends the subscription, which releases the outputs that were not acknowledged. The listener is
  // not called any more.
  void Close() EXCLUDES_LOCK(mutex_);

  // The pause before the next subscription is over.
  void OnDeadline() override EXCLUDES_LOCK(mutex_);
  bool FillRequest(uint64_t subscription, v1::SubscriptionRequest* request) override
      EXCLUDES_LOCK(mutex_);
  void OnResponse(uint64_t subscription, v1::SubscriptionResponse* response) override
      EXCLUDES_LOCK(mutex_);
  void OnRetired(uint64_t subscription) override EXCLUDES_LOCK(mutex_);
  void OnSubscriptionEnd(uint64_t subscription, const absl::Status& status) override
      EXCLUDES_LOCK(mutex_);

 private:
  // Says what there is to say, and opens a subscription if there is none and one is needed.
  void Proceed() EXCLUDES_LOCK(mutex_);
  void Open(const std::shared_ptr<Core>& core) EXCLUDES_LOCK(mutex_);
  absl::Status Explain(const absl::Status& status) EXCLUDES_LOCK(mutex_);
  // To the listener.
  void Bring(const FeedQueue::Expected& expected, v1::SubscriptionResponse* response);

  const RetryPolicy retry_;
  const std::string token_;  // of all its claims
  const std::weak_ptr<Listener> listener_;

  Mutex mutex_;
  // Never dropped under the lock: the last to drop the core closes the feed.
  std::weak_ptr<Core> core_ GUARDED_BY(mutex_);
  bool closed_ GUARDED_BY(mutex_) = false;
  FeedQueue queue_ GUARDED_BY(mutex_);
  bool opening_ GUARDED_BY(mutex_) = false;
  // The subscription as it is now; null and 0 for none.
  std::shared_ptr<Session> session_ GUARDED_BY(mutex_);
  uint64_t subscription_ GUARDED_BY(mutex_) = 0;
  std::shared_ptr<Connections::Stub> stub_ GUARDED_BY(mutex_);  // of the last one
  int failures_ GUARDED_BY(mutex_) = 0;                         // since something came
  absl::Duration start_at_ GUARDED_BY(mutex_) = absl::ZeroDuration();
  Deadline start_deadline_ GUARDED_BY(mutex_);
};

}  // namespace mayfly::client
