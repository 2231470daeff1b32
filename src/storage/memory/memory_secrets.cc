#include "storage/memory/memory_secrets.h"

#include <algorithm>

#include "base/check.h"
#include "base/error.h"

namespace mayfly {
namespace {

using Kind = SlotContent::Kind;

// The file of local storage begins with as many slots; few, so that slots are soon reused.
constexpr uint32_t kSlotsMin = 64;

}  // namespace

MemorySecrets::MemorySecrets(MemoryDisk* disk)
    : disk_(*disk),
      boot_number_(disk->record_.current().boot_number + 1),
      recorded_generation_(disk->record_.current().synced_generation),
      synced_generation_(recorded_generation_),
      rows_generation_(recorded_generation_),
      // A first start has lost nothing.
      explains_lost_writes_(boot_number_ > 1),
      capacity_(std::max(kSlotsMin, static_cast<uint32_t>(disk->slots_.size()))) {
  disk_.WriteRecord({.boot_number = boot_number_, .synced_generation = recorded_generation_});
  record_write_ = last_write_ = disk_.slot_writes();
  for (uint32_t slot = 0; slot < capacity_; ++slot) {
    const MemoryDisk::Slot& content = disk_.SlotAt(slot);
    if (content.kind == Kind::kDamaged) damaged_.insert(slot);
    if (content.kind == Kind::kUnused) free_.insert(slot);
    if (content.kind != Kind::kErased) continue;
    // StateOf needs the mark of a payload that was not recorded.
    (content.generation < recorded_generation_ ? free_ : kept_).insert(slot);
  }
}

std::vector<SlotLease> MemorySecrets::Reserve(size_t count) {
  while (free_.size() < count) free_.insert(capacity_++);
  std::vector<SlotLease> leases;
  leases.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const SlotRef ref = {.slot = *free_.begin(), .generation = NextGeneration()};
    free_.erase(free_.begin());
    ++next_counter_;
    reserved_[ref.generation] = ref.slot;
    std::array<uint8_t, kSlotSecretBytes> secret;
    for (uint8_t& byte : secret) byte = static_cast<uint8_t>(disk_.random_());
    leases.push_back({.ref = ref, .secret = SecretBytes(secret)});
  }
  return leases;
}

void MemorySecrets::Return(absl::Span<const SlotRef> refs) {
  for (const SlotRef& ref : refs) {
    const auto reserved = reserved_.find(ref.generation);
    Check(reserved != reserved_.end() && reserved->second == ref.slot,
          "a slot is written or returned once");
    reserved_.erase(reserved);
    free_.insert(ref.slot);
  }
}

void MemorySecrets::Write(const SlotWrite& write) {
  Check(reserved_.erase(write.ref.generation) == 1, "a slot that is written is reserved");
  MemoryDisk::Slot content = {.kind = Kind::kLive, .generation = write.ref.generation};
  const ByteSpan secret = write.secret->ExposeBytes();
  Check(secret.size() == content.secret.size(), "a secret has its size");
  std::copy(secret.begin(), secret.end(), content.secret.begin());
  disk_.WriteSlot(write.ref.slot, content);
  last_write_ = disk_.slot_writes();
}

void MemorySecrets::Erase(SlotRef ref) {
  const MemoryDisk::Slot& content = disk_.SlotAt(ref.slot);
  const bool is_its_own = content.kind == Kind::kLive && content.generation == ref.generation;
  const bool is_damaged = content.kind == Kind::kDamaged && !free_.contains(ref.slot);
  if (ref.generation == 0) return;
  if (damaged_.erase(ref.slot) == 0 && !is_its_own && !is_damaged) return;
  disk_.WriteSlot(ref.slot, {.kind = Kind::kErased, .generation = ref.generation});
  last_write_ = disk_.slot_writes();
  erased_.emplace(last_write_, ref.slot);
}

SlotState MemorySecrets::StateOf(SlotRef ref) const {
  const MemoryDisk::Slot& content = disk_.SlotAt(ref.slot);
  if (content.kind == Kind::kDamaged) return SlotState::kDamaged;
  if (content.generation == ref.generation && content.kind != Kind::kUnused) {
    return content.kind == Kind::kLive ? SlotState::kLive : SlotState::kErased;
  }
  if (ref.generation >= synced_generation_) return SlotState::kNeverStored;
  return content.generation > ref.generation ? SlotState::kErased : SlotState::kDamaged;
}

absl::StatusOr<SecretBytes> MemorySecrets::ReadSecret(SlotRef ref) const {
  const SlotState state = StateOf(ref);
  if (state == SlotState::kLive) return SecretBytes(disk_.SlotAt(ref.slot).secret);
  if (state == SlotState::kDamaged) {
    return MakeError(absl::StatusCode::kDataLoss, Reason::kAuthenticationFailed,
                     "the secret of the stored payload is damaged");
  }
  return absl::NotFoundError("slot does not hold that generation");
}

MemorySecrets::SyncMark MemorySecrets::MarkSync() const {
  return {.slot_writes = disk_.slot_writes(), .generation = WrittenGeneration()};
}

void MemorySecrets::OnSynced(const SyncMark& mark) {
  synced_writes_ = std::max(synced_writes_, mark.slot_writes);
  if (!explains_lost_writes_) synced_generation_ = std::max(synced_generation_, mark.generation);
  FreeErased();
}

void MemorySecrets::RowsSynced(uint64_t slot_writes) {
  rows_synced_writes_ = std::max(rows_synced_writes_, slot_writes);
  FreeErased();
}

void MemorySecrets::FreeErased() {
  const uint64_t end = std::min(synced_writes_, rows_synced_writes_);
  while (!erased_.empty() && erased_.begin()->first <= end) {
    free_.insert(erased_.begin()->second);
    erased_.erase(erased_.begin());
  }
}

void MemorySecrets::OrphansRemoved(bool all) {
  if (all) explains_lost_writes_ = false;
  for (const uint32_t slot : kept_) erased_.emplace(last_write_, slot);
  kept_.clear();
}

bool MemorySecrets::RecordRows(uint64_t generation) {
  rows_generation_ = std::max(rows_generation_, generation);
  const MemoryDisk::Record record = {
      .boot_number = boot_number_,
      .synced_generation = std::min(synced_generation_, rows_generation_)};
  if (record.synced_generation == disk_.record_.current().synced_generation) return false;
  disk_.WriteRecord(record);
  record_write_ = disk_.slot_writes();
  return true;
}

bool MemorySecrets::record_is_dirty() const { return record_write_ > synced_writes_; }

bool MemorySecrets::is_dirty() const { return last_write_ > synced_writes_; }

uint64_t MemorySecrets::WrittenGeneration() const {
  return reserved_.empty() ? NextGeneration() : reserved_.begin()->first;
}

std::vector<SlotRef> MemorySecrets::LiveSlotsBelow(uint64_t generation) const {
  std::vector<SlotRef> live;
  for (uint32_t slot = 0; slot < disk_.slots_.size(); ++slot) {
    const MemoryDisk::Slot& content = disk_.SlotAt(slot);
    if (content.kind == Kind::kLive && content.generation < generation) {
      live.push_back({.slot = slot, .generation = content.generation});
    }
  }
  return live;
}

void MemorySecrets::Quarantine(SlotRef ref) {
  if (free_.erase(ref.slot) > 0) damaged_.insert(ref.slot);
}

}  // namespace mayfly
