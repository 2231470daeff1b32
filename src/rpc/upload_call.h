// An UploadCall is one Upload RPC. It passes header, segments and finish to the store in this
// order, as they arrive.
//
// While the store writes one segment, the next may arrive in gRPC's buffers (server.cc bounds
// them), but no more. So a stream holds two segments in memory, and a client that sends faster than
// the disk writes must wait.
//
// gRPC owns the object until OnDone. The call ends only when no operation of the store is in
// flight, so that no callback outlives it. Thread-safe.
#pragma once

#include <memory>
#include <optional>

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "base/mutex.h"
#include "mayfly/v1/function_io.pb.h"
#include "rpc/admission.h"
#include "rpc/call_record.h"
#include "rpc/open_calls.h"
#include "store/call_store.h"

namespace mayfly {

class UploadCall final : public grpc::ServerReadReactor<v1::UploadRequest> {
 public:
  // All must outlive the call; `response` must remain valid until OnDone.
  UploadCall(const Config& config, InFlight* in_flight, OpenCalls* open_calls, Log* log,
             Clock* clock, v1::UploadResponse* response);

  // Call one of these first.
  void Start(const Admitted& admitted, grpc::CallbackServerContext* context);
  void Refuse(const absl::Status& status);

  void OnReadDone(bool ok) override;
  void OnDone() override { delete this; }

 private:
  enum class Expects { kHeader, kSegments, kNothing };

  // Each processes request_ and may start an operation in the store. An error ends the call.
  absl::Status TakeRequest();
  absl::Status TakeHeader();
  absl::Status TakeSegment();
  absl::Status TakeFinish();

  void OnBegun(absl::StatusOr<BegunUpload> begun);
  void OnFinished(absl::StatusOr<int64_t> deadline_ms);
  void BeginStep() EXCLUDES_LOCK(mutex_);
  // `outcome` becomes the final status unless that is already decided.
  void EndStep(std::optional<absl::Status> outcome) EXCLUDES_LOCK(mutex_);

  // The next steps: read on, or end the call.
  struct Next {
    bool reads = false;
    std::optional<absl::Status> outcome;
  };
  // Call in the same critical section as the change that leads to the decision: a read that another
  // thread starts may end the call, and a thread without a next step must not touch it again.
  Next Decide() REQUIRES_LOCK(mutex_);
  void Do(const Next& next) EXCLUDES_LOCK(mutex_);

  const Config& config_;
  CallRecord record_;
  OpenCall open_call_;
  v1::UploadResponse* const response_;
  Admitted admitted_;
  v1::UploadRequest request_;  // used by the reader only
  Expects expects_ = Expects::kHeader;
  std::shared_ptr<UploadStream> stream_;  // once begun

  Mutex mutex_;
  int steps_ GUARDED_BY(mutex_) = 0;  // store operations and request handling
  bool is_reading_ GUARDED_BY(mutex_) = false;
  bool is_finished_ GUARDED_BY(mutex_) = false;
  bool reads_on_ GUARDED_BY(mutex_) = true;
  std::optional<absl::Status> outcome_ GUARDED_BY(mutex_);
  int64_t segment_count_ = 0;
};

}  // namespace mayfly
