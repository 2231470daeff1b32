// A DownloadCall is one Download RPC: header, segments, finish. It reads the next segment while the
// previous one is being sent, and no further ahead. So a stream holds two segments in memory, and a
// slow reader delays only its own download.
//
// gRPC owns the object until OnDone. The call ends only when no operation of the store is in
// flight. Thread-safe.
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
  // All must outlive the call.
  DownloadCall(InFlight* in_flight, OpenCalls* open_calls, Log* log, Clock* clock);

  // Call one of these first.
  void Start(const Admitted& admitted, const v1::DownloadRequest& request,
             grpc::CallbackServerContext* context);
  void Refuse(const absl::Status& status);

  void OnWriteDone(bool ok) override;
  void OnDone() override { delete this; }

 private:
  void OnBegun(absl::StatusOr<std::shared_ptr<Download>> download);
  void OnRead(absl::StatusOr<std::string> data);
  void ReadNext();

  // The next steps: send the segment that was read, read on, or end the call.
  struct Next {
    bool writes = false;
    bool reads = false;
    std::optional<absl::Status> outcome;
  };
  // Call in the same critical section as the change that leads to the decision: once the mutex is
  // released, another thread may end the call, and a thread without a next step must not touch it
  // again.
  Next Decide() REQUIRES_LOCK(mutex_);
  void Do(const Next& next) EXCLUDES_LOCK(mutex_);

  CallRecord record_;
  OpenCall open_call_;
  Admitted admitted_;
  std::shared_ptr<Download> download_;  // once begun
  v1::DownloadResponse sending_;        // used by the writer only

  Mutex mutex_;
  bool is_reading_ GUARDED_BY(mutex_) = false;  // an operation of the store is in flight
  bool is_writing_ GUARDED_BY(mutex_) = false;
  bool is_finished_ GUARDED_BY(mutex_) = false;
  bool has_last_ GUARDED_BY(mutex_) = false;  // the last segment has been read
  std::optional<v1::DownloadResponse> next_ GUARDED_BY(mutex_);
  std::optional<absl::Status> outcome_ GUARDED_BY(mutex_);
  int64_t segment_count_ = 0;
};

}  // namespace mayfly
