// An InterposedStorage wraps the store's storage, so that a test can fail, delay or falsify single
// operations. Operations without a hook are passed through.
//
// Hooks are changed before the store is opened, or while nothing is under way.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "storage/storage.h"

namespace mayfly {

struct StorageHooks {
  // Called first; each may block, and an error takes the place of the operation.
  std::function<absl::Status()> load;  // of each call of a Load
  std::function<absl::Status()> commit;
  std::function<absl::Status()> sync;      // of both kinds
  std::function<absl::Status()> read_row;  // of each
  std::function<absl::Status()> read_secret;
  std::function<absl::Status()> due;
  // Called with what Load and Peek have found.
  std::function<void(absl::Span<const CallKey>, absl::Span<LoadedCall>)> loaded;
  std::function<absl::Status()> write_segment;
  std::function<absl::Status()> store_upload;
  // Called with how many slots come back unused.
  std::function<void(size_t)> returned;
  // Called instead.
  std::function<absl::StatusOr<Sealed>(Storage*, const CallKey&, SlotRef, uint32_t number)>
      read_segment;
  // No room for any put.
  bool disk_is_full = false;
  // Room is this budget's instead, with whatever the test measures.
  RoomBudget* room = nullptr;
};

class InterposedStorage final : public Storage {
 public:
  // `hooks` outlive it.
  InterposedStorage(const StorageHooks* hooks, std::unique_ptr<Storage> storage)
      : hooks_(*hooks), storage_(std::move(storage)) {}

  void Load(absl::Span<const CallKey> keys, absl::Span<LoadedCall> loaded) override {
    const absl::Status status = Ask(hooks_.load);
    storage_->Load(keys, loaded);
    if (!status.ok()) {
      for (LoadedCall& call : loaded) call = LoadedCall{.status = status};
    }
    if (hooks_.loaded) hooks_.loaded(keys, loaded);
  }
  absl::Status Commit(uint32_t shard, absl::Span<const CallChange> changes,
                      absl::Span<const TenantUsage> usage) override {
    const absl::Status status = Ask(hooks_.commit);
    return status.ok() ? storage_->Commit(shard, changes, usage) : status;
  }
  absl::Status Sync() override {
    const absl::Status status = Ask(hooks_.sync);
    return status.ok() ? storage_->Sync() : status;
  }
  absl::Status SyncRecord() override { return storage_->SyncRecord(); }
  absl::Status SyncErasures() override {
    const absl::Status status = Ask(hooks_.sync);
    return status.ok() ? storage_->SyncErasures() : status;
  }
  absl::StatusOr<Sealed> ReadSegment(const CallKey& key, SlotRef slot, uint32_t number) override {
    if (hooks_.read_segment) return hooks_.read_segment(storage_.get(), key, slot, number);
    return storage_->ReadSegment(key, slot, number);
  }

  std::vector<absl::StatusOr<Sealed>> ReadRows(absl::Span<const PayloadRef> refs) override {
    std::vector<absl::StatusOr<Sealed>> rows = storage_->ReadRows(refs);
    for (absl::StatusOr<Sealed>& row : rows) {
      const absl::Status status = Ask(hooks_.read_row);
      if (!status.ok()) row = status;
    }
    return rows;
  }
  absl::StatusOr<std::vector<DuePayload>> Due(int64_t from_s, int64_t until_s, size_t limit,
                                              const std::optional<DuePayload>& after) override {
    RETURN_IF_ERROR(Ask(hooks_.due));
    return storage_->Due(from_s, until_s, limit, after);
  }
  absl::StatusOr<std::vector<SlotLease>> ReserveSlots(size_t count) override {
    return storage_->ReserveSlots(count);
  }
  void ReturnSlots(absl::Span<const SlotRef> slots) override {
    if (hooks_.returned) hooks_.returned(slots.size());
    storage_->ReturnSlots(slots);
  }
  SlotState StateOf(SlotRef slot) const override { return storage_->StateOf(slot); }
  absl::StatusOr<SecretBytes> ReadSecret(SlotRef slot) const override {
    const absl::Status status = Ask(hooks_.read_secret);
    return status.ok() ? storage_->ReadSecret(slot) : status;
  }
  Keyring* keyring() override { return storage_->keyring(); }
  uint64_t boot_number() const override { return storage_->boot_number(); }
  void Peek(absl::Span<const CallKey> keys, absl::Span<LoadedCall> loaded) override {
    storage_->Peek(keys, loaded);
    if (hooks_.loaded) hooks_.loaded(keys, loaded);
  }
  absl::Status Erase(absl::Span<const SlotRef> slots) override { return storage_->Erase(slots); }
  absl::Status WriteSegment(const CallKey& key, SlotRef slot, uint32_t number, int64_t deadline_ms,
                            const Sealed& segment) override {
    const absl::Status status = Ask(hooks_.write_segment);
    return status.ok() ? storage_->WriteSegment(key, slot, number, deadline_ms, segment) : status;
  }
  absl::Status RemoveSegments(const SegmentsRef& segments) override {
    return storage_->RemoveSegments(segments);
  }
  absl::Status StoreUpload(const StoredUpload& upload, const SecretBytes& secret) override {
    const absl::Status status = Ask(hooks_.store_upload);
    return status.ok() ? storage_->StoreUpload(upload, secret) : status;
  }
  absl::Status RemoveUpload(const StoredUpload& upload) override {
    return storage_->RemoveUpload(upload);
  }
  absl::StatusOr<std::vector<StoredUpload>> LoadUploads() override {
    return storage_->LoadUploads();
  }
  absl::StatusOr<TenantRecord> ResolveTenant(absl::string_view name, int64_t max_ttl_ms) override {
    return storage_->ResolveTenant(name, max_ttl_ms);
  }
  absl::StatusOr<std::vector<std::pair<std::string, TenantRecord>>> Tenants() override {
    return storage_->Tenants();
  }
  absl::Status UpdateTenant(absl::string_view name, const TenantRecord& record) override {
    return storage_->UpdateTenant(name, record);
  }
  absl::StatusOr<std::vector<TenantUsage>> LoadUsage() override { return storage_->LoadUsage(); }
  absl::StatusOr<std::vector<TenantUsage>> LoadUsage(uint32_t shard) override {
    return storage_->LoadUsage(shard);
  }
  absl::StatusOr<std::optional<IdWindowRecord>> LoadIdWindow() override {
    return storage_->LoadIdWindow();
  }
  absl::Status SaveIdWindow(const IdWindowRecord& record) override {
    return storage_->SaveIdWindow(record);
  }
  absl::StatusOr<std::optional<std::string>> LoadTimeRecord() override {
    return storage_->LoadTimeRecord();
  }
  absl::Status SaveTimeRecord(absl::string_view record) override {
    return storage_->SaveTimeRecord(record);
  }
  absl::Status Health() const override { return storage_->Health(); }
  RoomLease ReserveRoom(uint64_t bytes) override {
    if (hooks_.room != nullptr) return hooks_.room->Reserve(bytes);
    return hooks_.disk_is_full ? RoomLease() : storage_->ReserveRoom(bytes);
  }
  RoomLease ClaimRoom(uint64_t bytes) override { return storage_->ClaimRoom(bytes); }
  absl::Status RoomRefusal(uint64_t bytes) const override { return storage_->RoomRefusal(bytes); }
  absl::Status Maintain(int64_t now_ms) override { return storage_->Maintain(now_ms); }
  absl::StatusOr<Orphans> FindOrphans() override { return storage_->FindOrphans(); }
  absl::Status RemoveOrphans(uint32_t shard, const Orphans& orphans,
                             absl::Span<const TenantUsage> usage) override {
    return storage_->RemoveOrphans(shard, orphans, usage);
  }
  void OrphansRemoved(bool all) override { storage_->OrphansRemoved(all); }
  uint64_t skipped() const override { return storage_->skipped(); }
  absl::Status VisitPayloads(absl::FunctionRef<void(const DuePayload&)> visit) override {
    return storage_->VisitPayloads(visit);
  }

 private:
  static absl::Status Ask(const std::function<absl::Status()>& hook) {
    return hook ? hook() : absl::OkStatus();
  }

  const StorageHooks& hooks_;
  const std::unique_ptr<Storage> storage_;
};

}  // namespace mayfly
