// Which uploads there are: those that a start finds, those of a call, and their end.
#include <utility>

#include "base/error.h"
#include "store/uploads.h"

namespace mayfly {
namespace {

// While the disk is full, an upload without a stream for this long is given up: there may be many, and
// together they would keep all of them from being finished. A client that tries again does so sooner.
constexpr int64_t kDetachedMsWhenFull = 10'000;

// Ended, or on its way there: a crash may have come in between, and the loss of power may have taken
// with relaxed durability what is known of the end.
bool HasEnded(const LoadedCall& call) {
  const auto is_erased = [](const std::optional<StoredPayload>& row) { return row && row->erased; };
  return call.state.tombstone || call.dead_input || call.dead_output ||
         is_erased(call.state.input) || is_erased(call.state.output);
}

}  // namespace

absl::Status Uploads::Start() {
  auto loaded = context_.storage.LoadUploads();
  RETURN_IF_ERROR(loaded.status());
  const int64_t now_ms = context_.time.Read().elapsed_ms;
  bool has_removed = false;
  for (StoredUpload& stored : *loaded) {
    Tenant* const tenant = context_.tenants.ByNumber(stored.key.tenant);
    const auto secret = context_.storage.ReadSecret(stored.payload.slot);
    LoadedCall call;
    context_.storage.Peek({&stored.key, 1}, {&call, 1});
    auto metadata = secret.ok()
                        ? context_.cipher.OpenMetadata(stored.key, stored.kind, stored.payload,
                                                       *secret, stored.metadata)
                        : secret.status();
    // A call that has ended must not be revived, and of one that cannot be read nobody knows.
    if (tenant == nullptr || !metadata.ok() || !call.status.ok() || HasEnded(call)) {
      RETURN_IF_ERROR(context_.storage.RemoveUpload(stored));
      has_removed = true;
      continue;
    }
    auto upload = std::make_shared<Upload>(tenant, stored.id);
    upload->active_ms = upload->attached_ms = now_ms;
    upload->metadata = *std::move(metadata);
    if (stored.payload.size_bytes > 0) upload->announced_bytes = stored.payload.size_bytes;
    upload->has_begun = true;
    upload->turn = turns_.Enter();
    upload->is_restored = false;
    upload->reservation = context_.quota.HoldUpload(tenant, stored.payload.size_bytes);
    context_.storage.keyring()->NoteUse(DueSecond(stored.payload.deadline_ms));
    upload->stored = std::move(stored);
    ++count_;
    MutexLock lock(&mutex_);
    by_id_[{tenant->number, upload->stored.id}] = upload;
    by_call_[upload->stored.key].push_back(upload);
  }
  // Or a loss of power would bring it back, when the tombstone may be gone.
  return has_removed ? context_.storage.Sync() : absl::OkStatus();
}

std::shared_ptr<Upload> Uploads::Find(Tenant* tenant, const UploadId& id) {
  MutexLock lock(&mutex_);
  const auto found = by_id_.find(Key{tenant->number, id});
  return found == by_id_.end() ? nullptr : found->second;
}

void Uploads::Remove(Upload* upload) {
  MutexLock lock(&mutex_);
  const auto of_call = by_call_.find(upload->stored.key);
  if (of_call != by_call_.end()) {
    auto& uploads = of_call->second;
    uploads.erase(std::remove_if(uploads.begin(), uploads.end(),
                                 [&](const auto& other) { return other.get() == upload; }),
                  uploads.end());
    if (uploads.empty()) by_call_.erase(of_call);
  }
  by_id_.erase(Key{upload->tenant->number, upload->stored.id});
}

void Uploads::End(Upload* upload) {
  upload->has_ended = true;
  turns_.Leave(upload->turn);
  upload->reservation = Reservation();
  --count_;
  Remove(upload);
}

// Its id is free for another upload only when its row is out.
void Uploads::Abandon(Upload* upload) {
  const absl::Status removed = context_.storage.RemoveUpload(upload->stored);
  context_.failure.Report(removed);
  End(upload);
}

void Uploads::GiveWay(uint64_t turn) {
  std::shared_ptr<Upload> upload;
  {
    MutexLock lock(&mutex_);
    for (const auto& [id, other] : by_id_) {
      if (other->turn == turn) upload = other;
    }
  }
  if (upload == nullptr) return;
  // Seen by its step under way, which may be this one, or wait for room.
  upload->gives_way = true;
  AddStep(upload, [this, upload] {
    if (!upload->has_ended && upload->finishes == 0) Abandon(upload.get());
    EndStep(upload);
  });
}

std::vector<std::shared_ptr<Upload>> Uploads::Of(const CallKey& key) {
  if (count() == 0) return {};
  MutexLock lock(&mutex_);
  const auto of_call = by_call_.find(key);
  if (of_call == by_call_.end()) return {};
  return of_call->second;
}

std::vector<EndedUpload> Uploads::OnCallEnding(const CallKey& key) {
  std::vector<EndedUpload> ended;
  for (const std::shared_ptr<Upload>& upload : Of(key)) {
    MutexLock lock(&upload->keep_mutex);
    upload->call_has_ended = true;
    ended.push_back({.id = upload->stored.id, .slot = upload->stored.payload.slot});
  }
  return ended;
}

void Uploads::OnCallEnded(const CallKey& key) {
  for (const std::shared_ptr<Upload>& upload : Of(key)) {
    AddStep(upload, [this, upload] {
      if (!upload->has_ended) Abandon(upload.get());
      EndStep(upload);
    });
  }
}

void Uploads::Sweep() {
  if (count() == 0) return;
  RetryAppends();
  std::vector<std::shared_ptr<Upload>> uploads;
  {
    MutexLock lock(&mutex_);
    for (const auto& [id, upload] : by_id_) uploads.push_back(upload);
  }
  const Now now = context_.time.Read();
  turns_.Forget(now.elapsed_ms);
  // The disk is full when the next segment of an upload does not fit.
  const bool disk_is_full =
      context_.quota.ReserveRoom(RoomBudget::CostOfSegment(kSegmentBytes)).empty();
  for (const std::shared_ptr<Upload>& upload : uploads) {
    AddStep(upload, [this, upload, now, disk_is_full] {
      if (!upload->stream.expired()) upload->attached_ms = now.elapsed_ms;
      const bool is_idle =
          upload->active_ms + idle_timeout_ms() <= now.elapsed_ms ||
          (disk_is_full && upload->attached_ms + kDetachedMsWhenFull <= now.elapsed_ms);
      // Both clocks must say so; a finish is refused as soon as one does.
      const bool is_past = upload->stored.payload.deadline_ms <= now.erase_ms;
      if (upload->has_begun && !upload->has_ended && (is_idle || is_past)) Abandon(upload.get());
      // In this order: who finishes may let go of the stream at once.
      if (upload->stream.expired() && upload->finishes == 0) DropUnwritten(upload.get());
      EndStep(upload);
    });
  }
}

}  // namespace mayfly
