// An OutputStream is one StreamOutputs RPC: a Subscription of the store on one side, and on the
// other messages, into which collects what there is to say while the one before is being written.
//
//   message   open         -> Subscribe
//             acks, ...    -> the store; answered in the order of the messages
//             credit, ids  -> the Subscription, whose outputs and ended calls go out as they are told
//
// However it ends, its Subscription ends first, and that releases its claims; only a client that is
// still there gets the answers to its acks before.
//
// Memory: what the Subscription lets be unsent, and results: no further message is read while
// kResultsMax of them have not left.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include <grpcpp/support/server_callback.h>

#include "config/config.h"
#include "mayfly/v1/function_io.pb.h"
#include "rpc/admission.h"
#include "rpc/bidi_stream.h"
#include "store/call_store.h"

namespace mayfly {

class OutputStream final : public BidiStream<v1::StreamOutputsRequest, v1::StreamOutputsResponse> {
 public:
  // What one message carries at most, but for a single output that is larger. Stock gRPC clients
  // take 4 MiB.
  static constexpr uint64_t kMessageBytesMax = 3 << 20;
  static constexpr int64_t kMessageEntriesMax = 256;
  static constexpr int64_t kResultsMax = 1024;

  // Admits the caller and makes the stream. All outlive it.
  static grpc::ServerBidiReactor<v1::StreamOutputsRequest, v1::StreamOutputsResponse>* Begin(
      grpc::CallbackServerContext* context, const Config& config, Admission* admission,
      const StreamSurroundings& surroundings);

  OutputStream(grpc::CallbackServerContext* context, const Config& config, Admission* admission,
               const StreamSurroundings& surroundings);

 private:
  // The acks and releases of one message.
  struct Answers {
    v1::StreamOutputsResponse results;
    int awaited = 0;  // batches that the store has not answered
  };
  struct Outgoing {
    std::unique_ptr<v1::StreamOutputsResponse> response;
    // What the Subscription has told of it, and what this stream has made itself.
    int64_t told_count = 0;
    uint64_t told_bytes = 0;
    int64_t result_count = 0;
    std::vector<uint64_t> payloads;  // by generation
  };

  absl::Duration OnMessage(const v1::StreamOutputsRequest& request) override;
  void OnHalfClose() override { Close(absl::OkStatus()); }
  void OnWritten() override;
  void OnBroken() override;
  void OnDrain() override;
  void OnDrainOver() override;
  bool WantsMessage() override REQUIRES_LOCK(mutex_);
  std::unique_ptr<v1::StreamOutputsResponse> NextResponse() override REQUIRES_LOCK(mutex_);
  std::optional<absl::Status> Outcome() override REQUIRES_LOCK(mutex_);

  absl::Status CheckCounts(const v1::StreamOutputsRequest& request) const;
  absl::Status Open(const v1::StreamOutputsRequest& request);
  void EndClaims(const v1::StreamOutputsRequest& request);
  absl::Status ChangeCalls(const v1::StreamOutputsRequest& request);
  std::vector<CallId> ReadIds(const google::protobuf::RepeatedPtrField<std::string>& texts,
                              absl::string_view list);

  void OnDelivery(Delivery delivery);
  void ReturnAll(const std::vector<ClaimedOutput>& outputs);
  void Answered(Answers* answers);
  // The message to add an entry to that brings so many bytes of payload.
  Outgoing* OutgoingFor(uint64_t payload_bytes) REQUIRES_LOCK(mutex_);
  void CollectAnswers() REQUIRES_LOCK(mutex_);
  void CloseIfDrained() REQUIRES_LOCK(mutex_);

  // The stream is to end, with this.
  void Close(const absl::Status& status);
  // Ends the Subscription when it is time, and whatever else can be done.
  void Proceed() EXCLUDES_LOCK(mutex_);

  const Config& config_;
  Admission* const admission_;
  CallStore* store_ = nullptr;
  Tenant* tenant_ = nullptr;
  // Set by the first message, before anybody else has a use for it.
  std::shared_ptr<Subscription> subscription_;
  ClaimToken token_{};

  std::deque<std::shared_ptr<Answers>> answers_ GUARDED_BY(mutex_);  // in the order sent
  std::deque<Outgoing> outgoing_ GUARDED_BY(mutex_);
  Outgoing written_ GUARDED_BY(mutex_);             // without its response, which is being written
  int64_t result_count_ GUARDED_BY(mutex_) = 0;     // that have not left
  int64_t unsettled_count_ GUARDED_BY(mutex_) = 0;  // outputs told, less acks and releases
  absl::Status drain_ GUARDED_BY(mutex_);           // not OK: nothing more will be told
  std::optional<absl::Status> closing_ GUARDED_BY(mutex_);
  bool releasing_ GUARDED_BY(mutex_) = false;
  bool released_ GUARDED_BY(mutex_) = false;
};

}  // namespace mayfly
