// A SessionStream is one Session RPC: requests of the batch RPCs, each answered when it is decided,
// independently of the others, and subscriptions, which push outputs.
//
//   message   requests       -> each is admitted by itself, and carried out (requests.h)
//             subscriptions  -> opened, changed and ended (session_subscription.h)
//             answers        <- one message takes all that have come since the last write,
//             outputs        <- and behind them what the subscriptions have to deliver
//
// One thread at a time reads, validates and seals a message. When kUnansweredMax requests have no
// answer that was written, or kUnansweredBytesMax bytes of them and their answers, no message is
// read. Claims that wait are not counted there until they are answered, but have a bound of their
// own. A message that subscribes waits while the shards are behind with the registrations before
// it.
//
// An answer that holds payloads has an OpenCall of its own, as a unary RPC's answer has. The RPC
// does not end before all of them are closed, since they refer to it. When the client is gone,
// claims that wait are cancelled, and those whose answers were not written released. When the
// session is closing, its subscriptions end once the requests before are decided: acks are in time.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include <grpcpp/support/server_callback.h>

#include "base/error.h"
#include "mayfly/v1/function_io.pb.h"
#include "rpc/admission.h"
#include "rpc/bidi_stream.h"
#include "rpc/call_record.h"
#include "rpc/open_calls.h"
#include "rpc/requests.h"
#include "rpc/session_subscription.h"

namespace mayfly {

class SessionStream final : public BidiStream<v1::SessionRequest, v1::SessionResponse> {
 public:
  static constexpr int kRequestsMax = 256;  // of a message
  static constexpr int kUnansweredMax = 256;
  static constexpr uint64_t kUnansweredBytesMax = 16 << 20;
  static constexpr size_t kWaitingClaimsMax = 256;
  static constexpr int kSubscriptionRequestsMax = 16;  // of a message
  static constexpr size_t kSubscriptionsMax = 64;
  // A message closes at these, but has one answer at least, and one part of a subscription if there
  // is any.
  static constexpr size_t kMessageAnswersMax = 256;
  static constexpr uint64_t kMessageBytesMax = 256 << 10;

  // Admits the caller and creates the stream. All arguments must outlive it.
  static grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>* Begin(
      grpc::CallbackServerContext* context, const Config& config, const Requests& requests,
      Admission* admission, const StreamSurroundings& surroundings);

  SessionStream(grpc::CallbackServerContext* context, const Config& config,
                const Requests& requests, Admission* admission,
                const StreamSurroundings& surroundings);

 private:
  // One request, until its answer was written.
  struct Answer {
    Answer(std::shared_ptr<SessionStream> its_session, Rpc rpc)
        : session(std::move(its_session)),
          record(rpc, session->surroundings().in_flight, session->log(), session->clock()) {}

    const std::shared_ptr<SessionStream> session;
    v1::NumberedResponse response;
    CallRecord record;
    std::optional<OpenCall> open_call;  // of an answer that returns payloads
    uint64_t bytes = 0;                 // of the response
    int item_count = 0;
    bool ends_claims = false;  // an ack or a release
    // Guarded by the session's mutex.
    uint64_t counted_bytes = 0;  // among the session's unanswered ones
    // From when the store has returned it until the answer was written. It holds the answer.
    std::shared_ptr<ClaimHandle> claim;
    bool is_written = false;
    bool is_dropped = false;  // answered, and never to be received
  };
  using Answers = std::vector<std::shared_ptr<Answer>>;
  using ClaimHandles = std::vector<std::shared_ptr<ClaimHandle>>;
  using SubscriptionList = std::vector<std::shared_ptr<SessionSubscription>>;

  absl::Duration OnMessage(const v1::SessionRequest& message) override;
  void OnHalfClose() override { Close(absl::OkStatus()); }
  void OnWritten(bool is_sent) override;
  void OnBroken() override;
  // The client may still end what it holds.
  void OnDrain() override;
  void OnDrainOver() override { Close(DrainingError()); }
  bool WantsMessage() override REQUIRES_LOCK(mutex_);
  std::unique_ptr<v1::SessionResponse> NextResponse() override REQUIRES_LOCK(mutex_);
  std::optional<absl::Status> Outcome() override REQUIRES_LOCK(mutex_);

  static absl::Status CheckLengths(const v1::SessionRequest& message);
  // How long the message has to wait because of what it subscribes to.
  absl::Duration DelayOf(const v1::SessionRequest& message) EXCLUDES_LOCK(mutex_);
  void Handle(const v1::NumberedRequest& request) EXCLUDES_LOCK(mutex_);
  void Handle(const v1::SubscriptionRequest& request) EXCLUDES_LOCK(mutex_);
  template <typename Request, typename Response>
  void Ask(Rpc rpc, uint64_t number, const Request& request,
           Response* (v1::NumberedResponse::*response_of)(),
           Requests::Method<Request, Response> method) EXCLUDES_LOCK(mutex_);
  std::shared_ptr<Answer> NewAnswer(Rpc rpc, uint64_t number);
  // Counts the request among those that wait, if it may, or are unanswered. False: the client is
  // gone.
  bool Count(const std::shared_ptr<Answer>& answer, uint64_t request_bytes, bool* waits)
      EXCLUDES_LOCK(mutex_);
  void CountUnanswered(Answer* answer, uint64_t bytes) REQUIRES_LOCK(mutex_);
  void Uncount(const Answer& answer) REQUIRES_LOCK(mutex_);
  void CancelWaiting() EXCLUDES_LOCK(mutex_);
  void KeepClaim(const std::shared_ptr<Answer>& answer, std::shared_ptr<ClaimHandle> claim)
      EXCLUDES_LOCK(mutex_);
  void Answered(const std::shared_ptr<Answer>& answer, const absl::Status& status)
      EXCLUDES_LOCK(mutex_);
  void WriteAnswers(v1::SessionResponse* message) REQUIRES_LOCK(mutex_);
  void WriteParts(v1::SessionResponse* message) REQUIRES_LOCK(mutex_);
  // The client does not receive the answer. Adds its claim to `released`.
  void Discard(Answer* answer, ClaimHandles* released) REQUIRES_LOCK(mutex_);
  static void Release(const ClaimHandles& claims);
  void Close(const absl::Status& status) EXCLUDES_LOCK(mutex_);

  // Null when there is none of that number.
  std::shared_ptr<SessionSubscription> FindSubscription(uint64_t number) EXCLUDES_LOCK(mutex_);
  // Null when there may be no further one.
  std::shared_ptr<SessionSubscription> AddSubscription(uint64_t number) EXCLUDES_LOCK(mutex_);
  SubscriptionList Subscriptions() EXCLUDES_LOCK(mutex_);
  void OnSubscriptionChange(uint64_t number) EXCLUDES_LOCK(mutex_);
  void EndSubscriptionsIfDue() EXCLUDES_LOCK(mutex_);

  const Config& config_;
  const Requests& requests_;
  Admission* const admission_;
  grpc_call* const call_;
  Admitted admitted_;

  // Answers that come while a message is handled leave together.
  bool is_collecting_ GUARDED_BY(mutex_) = false;
  std::deque<std::shared_ptr<Answer>> answered_ GUARDED_BY(mutex_);
  Answers written_ GUARDED_BY(mutex_);             // by gRPC at this moment
  uint64_t written_bytes_ GUARDED_BY(mutex_) = 0;  // of these
  absl::flat_hash_set<std::shared_ptr<Answer>> claims_ GUARDED_BY(mutex_);  // that wait
  int unanswered_count_ GUARDED_BY(mutex_) = 0;                             // without claims_
  int undecided_count_ GUARDED_BY(mutex_) = 0;                              // of these
  uint64_t unanswered_bytes_ GUARDED_BY(mutex_) = 0;
  absl::btree_map<uint64_t, std::shared_ptr<SessionSubscription>> subscriptions_ GUARDED_BY(mutex_);
  uint64_t last_written_subscription_ GUARDED_BY(mutex_) = 0;
  SubscriptionList written_subscriptions_
      GUARDED_BY(mutex_);  // with parts in the message under way
  std::optional<absl::Status> closing_ GUARDED_BY(mutex_);
  bool ends_subscriptions_ GUARDED_BY(mutex_) = false;
};

}  // namespace mayfly
