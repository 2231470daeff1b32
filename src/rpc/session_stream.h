// A SessionStream is one Session RPC: requests of the batch RPCs, each answered when it is decided,
// independently of the others.
//
//   message   requests   -> each is admitted by itself, and carried out (requests.h)
//             answers    <- one message takes all that have come since the last one was written
//
// One thread at a time reads, validates and seals a message. When kUnansweredMax requests have no answer
// that was written, or kUnansweredBytesMax bytes of them and their answers, no message is read. Claims
// that wait are not counted there until they are answered, but have a bound of their own.
//
// An answer that holds payloads has an OpenCall of its own, as a unary RPC's answer has. The RPC does not
// end before all of them are closed, since they refer to it. When the client is gone, claims that wait
// are cancelled, and those whose answers were not written released.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

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

namespace mayfly {

class SessionStream final : public BidiStream<v1::SessionRequest, v1::SessionResponse> {
 public:
  static constexpr int kRequestsMax = 256;  // of a message
  static constexpr int kUnansweredMax = 256;
  static constexpr uint64_t kUnansweredBytesMax = 16 << 20;
  static constexpr size_t kWaitingClaimsMax = 256;
  // A message closes at these, but has one answer at least.
  static constexpr size_t kMessageAnswersMax = 256;
  static constexpr uint64_t kMessageBytesMax = 256 << 10;

  // Admits the caller and creates the stream. All arguments must outlive it.
  static grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>* Begin(
      grpc::CallbackServerContext* context, const Requests& requests, Admission* admission,
      const StreamSurroundings& surroundings);

  SessionStream(grpc::CallbackServerContext* context, const Requests& requests,
                Admission* admission, const StreamSurroundings& surroundings);

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
    // Guarded by the session's mutex.
    uint64_t counted_bytes = 0;  // among the session's unanswered ones
    // From when the store has returned it until the answer was written. It holds the answer.
    std::shared_ptr<ClaimHandle> claim;
    bool is_written = false;
    bool is_dropped = false;  // answered, and never to be received
  };
  using Answers = std::vector<std::shared_ptr<Answer>>;
  using ClaimHandles = std::vector<std::shared_ptr<ClaimHandle>>;

  absl::Duration OnMessage(const v1::SessionRequest& message) override;
  void OnHalfClose() override { Close(absl::OkStatus()); }
  void OnWritten(bool is_sent) override;
  void OnBroken() override;
  // The client may still end what it holds.
  void OnDrain() override {}
  void OnDrainOver() override { Close(DrainingError()); }
  bool WantsMessage() override REQUIRES_LOCK(mutex_);
  std::unique_ptr<v1::SessionResponse> NextResponse() override REQUIRES_LOCK(mutex_);
  std::optional<absl::Status> Outcome() override REQUIRES_LOCK(mutex_);

  void Handle(const v1::NumberedRequest& request) EXCLUDES_LOCK(mutex_);
  template <typename Request, typename Response>
  void Ask(Rpc rpc, uint64_t number, const Request& request,
           Response* (v1::NumberedResponse::*response_of)(),
           Requests::Method<Request, Response> method) EXCLUDES_LOCK(mutex_);
  std::shared_ptr<Answer> NewAnswer(Rpc rpc, uint64_t number);
  // Counts the request among those that wait, if it may, or are unanswered. False: the client is gone.
  bool Count(const std::shared_ptr<Answer>& answer, uint64_t request_bytes, bool* waits)
      EXCLUDES_LOCK(mutex_);
  void CountUnanswered(Answer* answer, uint64_t bytes) REQUIRES_LOCK(mutex_);
  void Uncount(const Answer& answer) REQUIRES_LOCK(mutex_);
  void CancelWaiting() EXCLUDES_LOCK(mutex_);
  void KeepClaim(const std::shared_ptr<Answer>& answer, std::shared_ptr<ClaimHandle> claim)
      EXCLUDES_LOCK(mutex_);
  void Answered(const std::shared_ptr<Answer>& answer, const absl::Status& status)
      EXCLUDES_LOCK(mutex_);
  // The client does not receive the answer. Adds its claim to `released`.
  void Discard(Answer* answer, ClaimHandles* released) REQUIRES_LOCK(mutex_);
  static void Release(const ClaimHandles& claims);
  void Close(const absl::Status& status) EXCLUDES_LOCK(mutex_);

  const Requests& requests_;
  Admission* const admission_;
  grpc_call* const call_;
  Admitted admitted_;

  // Answers that come while a message is handled leave together.
  bool is_collecting_ GUARDED_BY(mutex_) = false;
  std::deque<std::shared_ptr<Answer>> answered_ GUARDED_BY(mutex_);
  Answers written_ GUARDED_BY(mutex_);  // by gRPC at this moment
  absl::flat_hash_set<std::shared_ptr<Answer>> claims_ GUARDED_BY(mutex_);  // that wait
  int unanswered_count_ GUARDED_BY(mutex_) = 0;                             // without claims_
  uint64_t unanswered_bytes_ GUARDED_BY(mutex_) = 0;
  std::optional<absl::Status> closing_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
