// An OutputStream is one StreamOutputs RPC. It connects a Subscription of the store with the
// messages of the stream. While one response is being written, it collects results and outputs for
// the next.
//
//   message   open         -> Subscribe
//             acks, ...    -> the store; answered in the order of the messages
//             credit, ids  -> the Subscription; its outputs and ended calls are sent as they arrive
//
// When the stream ends, for whatever reason, its Subscription ends first, which releases its
// claims. The results of acks are sent before only if the client is still connected.
//
// Memory is bounded by the Subscription's unsent outputs and by the results: no further message is
// read while kResultsMax of them have not been sent.
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
  // Maximum payload bytes of one message, except for a single larger output. gRPC clients accept 4
  // MiB by default.
  static constexpr uint64_t kMessageBytesMax = 3 << 20;
  static constexpr int64_t kMessageEntriesMax = 256;
  static constexpr int64_t kResultsMax = 1024;

  // Admits the caller and creates the stream. All arguments must outlive it.
  static grpc::ServerBidiReactor<v1::StreamOutputsRequest, v1::StreamOutputsResponse>* Begin(
      grpc::CallbackServerContext* context, const Config& config, Admission* admission,
      const StreamSurroundings& surroundings);

  OutputStream(grpc::CallbackServerContext* context, const Config& config, Admission* admission,
               const StreamSurroundings& surroundings);

 private:
  // The results of the acks and releases of one message.
  struct Answers {
    v1::StreamOutputsResponse results;
    int awaited = 0;  // batches in flight in the store
  };
  struct Outgoing {
    std::unique_ptr<v1::StreamOutputsResponse> response;
    // The number of outputs and ended calls delivered by the Subscription, and of those created by
    // this stream.
    int64_t told_count = 0;
    uint64_t told_bytes = 0;
    int64_t result_count = 0;
    std::vector<uint64_t> payloads;  // by generation
  };

  absl::Duration OnMessage(const v1::StreamOutputsRequest& request) override;
  void OnHalfClose() override { Close(absl::OkStatus()); }
  void OnWritten(bool is_sent) override;
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
  // The message to which to add an entry with this many payload bytes.
  Outgoing* OutgoingFor(uint64_t payload_bytes) REQUIRES_LOCK(mutex_);
  void CollectAnswers() REQUIRES_LOCK(mutex_);
  void CloseIfDrained() REQUIRES_LOCK(mutex_);

  // Ends the stream with this status.
  void Close(const absl::Status& status);
  // Ends the Subscription when it is time, and starts every other step that is possible.
  void Proceed() EXCLUDES_LOCK(mutex_);

  const Config& config_;
  Admission* const admission_;
  CallStore* store_ = nullptr;
  Tenant* tenant_ = nullptr;
  // Set by the first message, before anything else uses it.
  std::shared_ptr<Subscription> subscription_;
  ClaimToken token_{};

  std::deque<std::shared_ptr<Answers>> answers_ GUARDED_BY(mutex_);  // in the order sent
  std::deque<Outgoing> outgoing_ GUARDED_BY(mutex_);
  Outgoing written_ GUARDED_BY(mutex_);             // without its response, which gRPC is writing
  int64_t result_count_ GUARDED_BY(mutex_) = 0;     // results not sent yet
  int64_t unsettled_count_ GUARDED_BY(mutex_) = 0;  // outputs delivered, minus acks and releases
  absl::Status drain_ GUARDED_BY(mutex_);           // not OK: no more outputs will be delivered
  std::optional<absl::Status> closing_ GUARDED_BY(mutex_);
  bool releasing_ GUARDED_BY(mutex_) = false;
  bool released_ GUARDED_BY(mutex_) = false;
};

}  // namespace mayfly
