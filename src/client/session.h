// A Session carries the requests of many RpcCalls on one stream, without an RPC for each, and the
// subscriptions of output feeds.
//
// It writes one frame at a time: the requests that have come since the last one was written, so
// that they leave together when there are many and at once when there is one. Requests of the
// callbacks of one completion share a frame (Dispatcher). Payloads are not copied: a frame borrows
// the requests until it is serialized, and responses are read where they were parsed.
//
// A session that is retired, or that has carried nothing for a while, takes no more requests; it is
// half-closed when those that it took are answered and its feeds have moved to another. Requests
// that have no answer when it ends may have been carried out or not. Callers repeat them.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"

#include "base/mutex.h"
#include "client/connections.h"
#include "client/deadlines.h"
#include "client/dispatcher.h"
#include "client/rpc_stream.h"
#include "mayfly/v1/function_io.pb.h"

namespace mayfly::client {

class Sessions;

struct SessionTimes {
  absl::Duration use = absl::Minutes(1);    // for how long a session takes requests
  absl::Duration idle = absl::Seconds(10);  // without requests, until it ends
};

// Thread-safe; calls are answered on the dispatcher's thread. The locks of Operation and Deadlines
// are taken under its own.
class Session : public Flushable,
                public Deadlines::Listener,
                public RpcStream<v1::SessionRequest, v1::SessionResponse>::Owner,
                public std::enable_shared_from_this<Session> {
 public:
  // Sends one request. Exactly one of the last two is called, unless it is withdrawn before.
  class Call {
   public:
    virtual ~Call() = default;
    // Before all else, and under the session's lock.
    virtual void OnTaken(std::shared_ptr<Session> session, uint64_t number) = 0;
    // The call may move data out of `response` until this returns.
    virtual Completion::Then OnAnswered(v1::NumberedResponse* response) = 0;
    virtual Completion::Then OnSessionEnd(const absl::Status& status) = 0;
  };
  // Has a subscription. Called on the dispatcher's thread, but for FillRequest.
  class Feed {
   public:
    virtual ~Feed() = default;
    // Adds what is to be sent now, under the session's lock and on any thread. False: nothing.
    virtual bool FillRequest(uint64_t subscription, v1::SubscriptionRequest* request) = 0;
    virtual void OnResponse(uint64_t subscription, v1::SubscriptionResponse* response) = 0;
    // The session takes no more requests: the feed is to open a subscription on another, and to end
    // this one.
    virtual void OnRetired(uint64_t subscription) = 0;
    // The subscription is over. OK: the feed has ended it.
    virtual void OnSubscriptionEnd(uint64_t subscription, const absl::Status& status) = 0;
  };
  struct Entry {
    std::shared_ptr<Call> call;
    v1::NumberedRequest* request;  // the call's; not changed until it is answered or withdrawn
    size_t request_bytes;
  };

  Session(std::shared_ptr<Connections::Stub> stub, const std::shared_ptr<Deadlines>& deadlines,
          const SessionTimes& times, std::weak_ptr<Sessions> sessions);

  void Open(std::shared_ptr<Dispatcher> dispatcher) EXCLUDES_LOCK(mutex_);
  // False, and nothing happens, when the session takes no more requests.
  bool Send(Dispatcher* dispatcher, const Entry& entry) EXCLUDES_LOCK(mutex_);
  // The call is not told of its answer. Null when it is told already, or is about to be.
  std::shared_ptr<Call> Withdraw(uint64_t number) EXCLUDES_LOCK(mutex_);
  // The number of a new subscription, which the feed is asked about from RequestFlush on; 0, and
  // nothing happens, when the session takes no more requests. Does not keep the feed alive.
  uint64_t Attach(std::weak_ptr<Feed> feed) EXCLUDES_LOCK(mutex_);
  // The feed has something to send.
  void RequestFlush(uint64_t subscription) EXCLUDES_LOCK(mutex_);
  void EndSubscription(uint64_t subscription, bool keeps_claims) EXCLUDES_LOCK(mutex_);
  // Takes no more requests.
  void Retire() EXCLUDES_LOCK(mutex_);
  void Cancel() EXCLUDES_LOCK(mutex_);

  const std::shared_ptr<Connections::Stub>& stub() const { return stub_; }
  // When it takes no more requests.
  absl::Duration use_end() const { return use_end_; }

  void Flush() override EXCLUDES_LOCK(mutex_);
  // The session may have been idle for long enough, or has not ended in time.
  void OnDeadline() override EXCLUDES_LOCK(mutex_);
  void OnWritable() override EXCLUDES_LOCK(mutex_);
  Completion::Then OnResponse(v1::SessionResponse* response) override EXCLUDES_LOCK(mutex_);
  Completion::Then OnBroken(const absl::Status& status) override EXCLUDES_LOCK(mutex_);

 private:
  using Stream = RpcStream<v1::SessionRequest, v1::SessionResponse>;
  struct Subscription {
    std::weak_ptr<Feed> feed;
    bool has_more = false;          // to send, perhaps
    std::optional<bool> ends_with;  // to be ended; whether it keeps its claims
    bool end_is_sent = false;
  };
  using Subscriptions = std::map<uint64_t, Subscription>;

  // Takes the requests that fit into one. Returns the number of the last.
  uint64_t FillFrame(v1::SessionRequest* frame) REQUIRES_LOCK(mutex_);
  // Returns the feeds that it has asked.
  std::vector<std::shared_ptr<Feed>> FillSubscriptions(v1::SessionRequest* frame)
      REQUIRES_LOCK(mutex_);
  // Null when the session is being flushed already, or cannot be.
  std::shared_ptr<Dispatcher> NeedFlush() REQUIRES_LOCK(mutex_);
  void FlushWith(const std::shared_ptr<Dispatcher>& dispatcher);
  void BringTo(v1::SubscriptionResponse* response) EXCLUDES_LOCK(mutex_);
  void TellRetired() EXCLUDES_LOCK(mutex_);
  // Until no frame that is being written refers to the request.
  void AwaitSerialized(uint64_t number) REQUIRES_LOCK(mutex_);
  void HalfCloseIfDone() REQUIRES_LOCK(mutex_);

  const std::shared_ptr<Connections::Stub> stub_;
  const absl::Duration idle_;
  const absl::Duration use_end_;
  const std::weak_ptr<Sessions> sessions_;

  Mutex mutex_;
  std::weak_ptr<Dispatcher> dispatcher_ GUARDED_BY(mutex_);
  std::shared_ptr<Stream> stream_ GUARDED_BY(mutex_);  // null before it is opened and when it ended
  bool closing_ GUARDED_BY(mutex_) = false;            // takes no more requests
  bool half_closed_ GUARDED_BY(mutex_) = false;
  bool writable_ GUARDED_BY(mutex_) = false;
  bool flush_requested_ GUARDED_BY(mutex_) = false;
  uint64_t next_number_ GUARDED_BY(mutex_) = 1;
  absl::Duration last_used_ GUARDED_BY(mutex_);
  absl::flat_hash_map<uint64_t, Entry> entries_ GUARDED_BY(mutex_);  // without answer, by number
  std::deque<uint64_t> waiting_ GUARDED_BY(mutex_);  // not written yet; withdrawn ones too
  Subscriptions subscriptions_ GUARDED_BY(mutex_);
  uint64_t last_subscription_ GUARDED_BY(mutex_) = 0;
  // Frames are written without the lock. Requests up to taken_ are in one, those up to serialized_
  // are not referred to any more.
  uint64_t taken_ GUARDED_BY(mutex_) = 0;
  uint64_t serialized_ GUARDED_BY(mutex_) = 0;
  ConditionVariable serialized_changed_;
  Deadline deadline_ GUARDED_BY(mutex_);
};

}  // namespace mayfly::client
