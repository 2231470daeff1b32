// A PutStream is one StreamPuts RPC: every message is one PutInputs or PutOutputs of the store, and
// is answered when that is, whatever the others do.
//
// A message is read, checked and sealed on one thread; how many are on their way behind that is
// bounded by count and bytes, and then no more is read until an answer has left.
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

  // Admits the caller and makes the stream. All outlive it.
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
  uint64_t written_bytes_ GUARDED_BY(mutex_) = 0;  // of the request whose answer is being written
  int unanswered_count_ GUARDED_BY(mutex_) = 0;    // until the answer has left
  uint64_t unanswered_bytes_ GUARDED_BY(mutex_) = 0;
  std::optional<absl::Status> closing_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
