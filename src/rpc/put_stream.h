// A PutStream is one StreamPuts RPC. Every message is one PutInputs or PutOutputs of the store, and
// is answered when that completes, independently of the others.
//
// One thread at a time reads, validates and seals a message. The messages in flight after that are
// bounded by number and bytes; at the bound no message is read until an answer has been sent.
#pragma once

#include <deque>
#include <memory>
#include <optional>

#include <grpcpp/support/server_callback.h>

#include "base/error.h"
#include "config/config.h"
#include "mayfly/v1/function_io.pb.h"
#include "rpc/admission.h"
#include "rpc/bidi_stream.h"
#include "store/call_store.h"

namespace mayfly {

class PutStream final : public BidiStream<v1::StreamPutsRequest, v1::StreamPutsResponse> {
 public:
  static constexpr int kUnansweredMax = 32;
  static constexpr uint64_t kUnansweredBytesMax = 16 << 20;

  // Admits the caller and creates the stream. All arguments must outlive it.
  static grpc::ServerBidiReactor<v1::StreamPutsRequest, v1::StreamPutsResponse>* Begin(
      grpc::CallbackServerContext* context, const Config& config, Admission* admission,
      const StreamSurroundings& surroundings);

  PutStream(grpc::CallbackServerContext* context, const Config& config, Admission* admission,
            const StreamSurroundings& surroundings);

 private:
  // The answer to one message.
  struct Answer {
    std::unique_ptr<v1::StreamPutsResponse> response;
    uint64_t request_bytes = 0;
  };

  absl::Duration OnMessage(const v1::StreamPutsRequest& request) override;
  void OnHalfClose() override { Close(absl::OkStatus()); }
  void OnWritten() override;
  void OnBroken() override;
  void OnDrain() override { Close(DrainingError()); }
  void OnDrainOver() override {}
  bool WantsMessage() override REQUIRES_LOCK(mutex_);
  std::unique_ptr<v1::StreamPutsResponse> NextResponse() override REQUIRES_LOCK(mutex_);
  std::optional<absl::Status> Outcome() override REQUIRES_LOCK(mutex_);

  absl::Status CheckMessage(const v1::StreamPutsRequest& request) const;
  void PutInputs(const v1::StreamPutsRequest& request, std::shared_ptr<Answer> answer);
  void PutOutputs(const v1::StreamPutsRequest& request, std::shared_ptr<Answer> answer);
  void Answered(Answer* answer) EXCLUDES_LOCK(mutex_);
  void Close(const absl::Status& status) EXCLUDES_LOCK(mutex_);

  const Config& config_;
  Admission* const admission_;
  CallStore* store_ = nullptr;
  Tenant* tenant_ = nullptr;
  Role role_ = Role::kClient;

  std::deque<Answer> answered_ GUARDED_BY(mutex_);
  uint64_t written_bytes_ GUARDED_BY(mutex_) = 0;  // of the request whose answer gRPC is writing
  int unanswered_count_ GUARDED_BY(mutex_) = 0;    // until the answer has been sent
  uint64_t unanswered_bytes_ GUARDED_BY(mutex_) = 0;
  std::optional<absl::Status> closing_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
