// An UploadCall is one Upload RPC: header, segments, finish, in this order, handed to the store as
// they come.
//
// While the store writes one segment the next may come, into gRPC's buffers (server.cc bounds them),
// and no more: two segments in memory for each stream, and whoever sends faster than the disk takes
// has to wait.
//
// Lives until gRPC is done with it; it ends when nothing is under way in the store any more, so
// that no callback finds it gone. Thread-safe.
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
  // All outlive the call; `response` until it is done.
  UploadCall(const Config& config, InFlight* in_flight, OpenCalls* open_calls, Log* log,
             Clock* clock, v1::UploadResponse* response);

  // One of these first: goes on, or refuses.
  void Start(const Admitted& admitted, grpc::CallbackServerContext* context);
  void Refuse(const absl::Status& status);

  void OnReadDone(bool ok) override;
  void OnDone() override { delete this; }

 private:
  enum class Expects { kHeader, kSegments, kNothing };

  // Each takes request_ and may begin a step in the store. An error ends the call.
  absl::Status TakeRequest();
  absl::Status TakeHeader();
  absl::Status TakeSegment();
  absl::Status TakeFinish();

  void OnBegun(absl::StatusOr<BegunUpload> begun);
  void OnFinished(absl::StatusOr<int64_t> deadline_ms);
  void BeginStep() EXCLUDES_LOCK(mutex_);
  // `outcome` decides how the call ends, if it is not decided yet.
  void EndStep(std::optional<absl::Status> outcome) EXCLUDES_LOCK(mutex_);

  // What it is time for: to read on, or to end the call.
  struct Next {
    bool reads = false;
    std::optional<absl::Status> outcome;
  };
  // Together with the change that it comes of, in one hold of the mutex: the read that another
  // begins may end the call, and whoever has nothing to do next must not come back.
  Next Decide() REQUIRES_LOCK(mutex_);
  void Do(const Next& next) EXCLUDES_LOCK(mutex_);

  const Config& config_;
  CallRecord record_;
  OpenCall open_call_;
  v1::UploadResponse* const response_;
  Admitted admitted_;
  v1::UploadRequest request_;  // the reader's
  Expects expects_ = Expects::kHeader;
  std::shared_ptr<UploadStream> stream_;  // once begun

  Mutex mutex_;
  int steps_ GUARDED_BY(mutex_) = 0;  // under way: one in the store, or the taking of a request
  bool is_reading_ GUARDED_BY(mutex_) = false;
  bool is_finished_ GUARDED_BY(mutex_) = false;
  bool reads_on_ GUARDED_BY(mutex_) = true;
  std::optional<absl::Status> outcome_ GUARDED_BY(mutex_);
  int64_t segment_count_ = 0;
};

}  // namespace mayfly
