// Uploads are payloads on their way, a segment at a time.
//
//   Begin    asks the rules whether the put would be taken, and keeps an upload: its row, its slot
//   Append   seals a segment and writes it
//   Finish   compares size and CRC-32C with what came, and submits the put
//
// Nobody else sees anything of an upload before its put is committed. Until then it can be gone on
// with, by another stream and after a restart too: the newest stream has it, and an older one is
// told so. It is erased when its put is refused, its call ends, its own deadline passes, nothing comes
// for limits.upload_idle_timeout, or an older one needs its room (upload_turns.h).
//
// The steps of one upload run one after another, those of different uploads in parallel, on worker
// threads; callbacks run there too. Memory: about 1 KiB for each upload, what Append
// is given, and the one segment of a small payload as long as there is a stream.
// Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "base/mutex.h"
#include "call/operation.h"
#include "storage/storage.h"
#include "store/payload.h"
#include "store/router.h"
#include "store/upload.h"
#include "store/upload_turns.h"

namespace mayfly {

class Uploads {
 public:
  Uploads(const StoreContext& context, Router* router) : context_(context), router_(*router) {}

  // Takes up what storage holds. Before anything else.
  absl::Status Start();

  // Begins an upload, or goes on with it. What can be told before a byte is sent is told here: the
  // errors of a put, and QUOTA_UPLOADS, UPLOAD_UNKNOWN, OFFSET_MISMATCH. When nothing is to be sent,
  // because the call has the payload already or was consumed since, there is no stream.
  void Begin(Tenant* tenant, NewUpload upload, BeginUploadDone done) EXCLUDES_LOCK(mutex_);

  // NOT_FOUND (UPLOAD_UNKNOWN) when no upload of that id is under way.
  void Query(Tenant* tenant, const UploadId& id,
             absl::AnyInvocable<void(absl::StatusOr<UploadProgress>)> done) EXCLUDES_LOCK(mutex_);

  // For UploadStream.
  void Append(std::shared_ptr<Upload> upload, uint64_t stream, UploadSegment segment,
              absl::AnyInvocable<void(absl::Status)> done);
  void Finish(std::shared_ptr<Upload> upload, uint64_t stream, const UploadEnd& end,
              FinishUploadDone done);

  // A call ends, and uploads to it with it: no late one may revive it when its tombstone is gone. For
  // the committer of the call's shard: before it commits the end, whose batch has to take out the
  // rows of the uploads named here, and after that. Cheap when there are none.
  std::vector<EndedUpload> OnCallEnding(const CallKey& key) EXCLUDES_LOCK(mutex_);
  void OnCallEnded(const CallKey& key) EXCLUDES_LOCK(mutex_);
  // Tries appends again that wait for room; those of a store that drains are refused.
  void RetryAppends() EXCLUDES_LOCK(mutex_);
  // Ends what is past its time, and retries appends; to be called about every second.
  void Sweep() EXCLUDES_LOCK(mutex_);

  uint64_t count() const { return count_.load(std::memory_order_relaxed); }

 private:
  using Key = std::pair<TenantNumber, UploadId>;

  std::vector<std::shared_ptr<Upload>> Of(const CallKey& key) EXCLUDES_LOCK(mutex_);
  std::shared_ptr<Upload> Find(Tenant* tenant, const UploadId& id) EXCLUDES_LOCK(mutex_);
  void Remove(Upload* upload) EXCLUDES_LOCK(mutex_);

  // Steps; each ends with EndStep, at once or from a callback.
  void AddStep(const std::shared_ptr<Upload>& upload, Upload::Step step);
  void RunStep(std::shared_ptr<Upload> upload);
  void EndStep(const std::shared_ptr<Upload>& upload);

  void StartNew(std::shared_ptr<Upload> upload, NewUpload request, BeginUploadDone done);
  void OnBeginDecided(std::shared_ptr<Upload> upload, OperationResult result, BeginUploadDone done);
  absl::Status PrepareNew(Upload* upload, const NewUpload& request);
  // DISK_FULL when what was announced does not fit, or others wait for room already.
  absl::Status CheckRoom(const Upload& upload) const;
  // An Append whose segment may have to wait for room; the step of its upload ends with it.
  struct PendingAppend {
    std::shared_ptr<Upload> upload;
    uint64_t stream = 0;
    UploadSegment segment;
    absl::AnyInvocable<void(absl::Status)> done;
    int64_t since_ms = 0;
  };
  void TryAppend(PendingAppend append) EXCLUDES_LOCK(mutex_);
  // Room for the upload's next segment; empty when it is to wait. DISK_FULL.
  absl::StatusOr<RoomLease> TakeRoom(Upload* upload, uint64_t bytes, int64_t since_ms);
  // Erases the upload of that turn, so that its room comes back.
  void GiveWay(uint64_t turn) EXCLUDES_LOCK(mutex_);
  // An upload without rows when the call has ended since the rules were asked.
  absl::Status KeepNew(Upload* upload);
  static void DropUnwritten(Upload* upload);
  absl::Status Resume(Upload* upload, const NewUpload& request);
  std::shared_ptr<UploadStream> TakeOver(std::shared_ptr<Upload> upload);
  absl::Status CheckHolder(const Upload& upload, uint64_t stream) const;
  // False when it has to wait for room; nothing has changed then.
  absl::StatusOr<bool> AppendSegment(Upload* upload, const UploadSegment& segment,
                                     int64_t since_ms);
  absl::Status WriteSegment(Upload* upload, absl::string_view data);
  absl::StatusOr<Sealed> SealRow(Upload* upload, uint64_t stream, const UploadEnd& end);
  void SubmitPut(std::shared_ptr<Upload> upload, Sealed row, FinishUploadDone done);
  void OnPutDecided(std::shared_ptr<Upload> upload, OperationResult result, FinishUploadDone done);
  // Reads what a restart has left of it.
  absl::Status Restore(Upload* upload);
  void Abandon(Upload* upload);
  // It is no more, whatever became of its payload.
  void End(Upload* upload);

  int64_t idle_timeout_ms() const;

  const StoreContext& context_;
  Router& router_;
  std::atomic<uint64_t> count_{0};
  UploadTurns turns_;
  std::atomic<bool> has_waiting_{false};
  Mutex mutex_;
  std::vector<PendingAppend> waiting_ GUARDED_BY(mutex_);
  absl::flat_hash_map<Key, std::shared_ptr<Upload>> by_id_ GUARDED_BY(mutex_);
  absl::flat_hash_map<CallKey, std::vector<std::shared_ptr<Upload>>> by_call_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
