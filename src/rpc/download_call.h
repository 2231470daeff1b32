// A DownloadCall is one Download RPC: header, segments, finish. The next segment is read while the
// last one is sent, and not before the one before it has left: two segments in memory for each
// stream, and a slow reader holds up its own download only.
//
// Lives until gRPC is done with it; it ends when nothing is under way in the store any more.
// Thread-safe.
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

class DownloadCall final : public grpc::ServerWriteReactor<v1::DownloadResponse> {
 public:
  // All outlive the call.
  DownloadCall(InFlight* in_flight, OpenCalls* open_calls, Log* log, Clock* clock);

  // One of these first.
  void Start(const Admitted& admitted, const v1::DownloadRequest& request,
             grpc::CallbackServerContext* context);
  void Refuse(const absl::Status& status);

  void OnWriteDone(bool ok) override;
  void OnDone() override { delete this; }

 private:
  void OnBegun(absl::StatusOr<std::shared_ptr<Download>> download);
  void OnRead(absl::StatusOr<std::string> data);
  void ReadNext();

  // What it is time for: to send what has been read, to read on, or to end the call.
  struct Next {
    bool writes = false;
    bool reads = false;
    std::optional<absl::Status> outcome;
  };
  // Together with the change that it comes of, in one hold of the mutex: what goes on elsewhere may
  // end the call as soon as it is let go of, and whoever has nothing to do next must not come back.
  Next Decide() REQUIRES_LOCK(mutex_);
  void Do(const Next& next) EXCLUDES_LOCK(mutex_);

  CallRecord record_;
  OpenCall open_call_;
  Admitted admitted_;
  std::shared_ptr<Download> download_;  // once begun
  v1::DownloadResponse sending_;        // the writer's

  Mutex mutex_;
  bool is_reading_ GUARDED_BY(mutex_) = false;  // in the store
  bool is_writing_ GUARDED_BY(mutex_) = false;
  bool is_finished_ GUARDED_BY(mutex_) = false;
  bool has_last_ GUARDED_BY(mutex_) = false;  // the finish has been read
  std::optional<v1::DownloadResponse> next_ GUARDED_BY(mutex_);
  std::optional<absl::Status> outcome_ GUARDED_BY(mutex_);
  int64_t segment_count_ = 0;
};

}  // namespace mayfly
