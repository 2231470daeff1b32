#include "keys/slot_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/check.h"
#include "base/error.h"
#include "crypto/random.h"

namespace mayfly {
namespace {

constexpr char kSlotFileName[] = "slots";

constexpr uint64_t kGrowthBytesMin = uint64_t{1} << 20;
// Zeros are written and synced while reservations wait: about 20 ms for these.
constexpr uint64_t kGrowthBytesMax = uint64_t{16} << 20;
constexpr uint64_t kMappingBytesMin = uint64_t{16} << 20;

// A reader may meet a slot in the middle of a pwrite, which lasts nanoseconds unless its thread is
// interrupted there.
constexpr int kReadAttemptsMax = 100;
constexpr int kReadAttemptsBeforeYield = 10;

std::string PathIn(const std::string& directory) {
  return absl::StrCat(directory, "/", kSlotFileName);
}

MutableByteSpan MutableBytes(std::string* text) {
  return MutableByteSpan(reinterpret_cast<uint8_t*>(text->data()), text->size());
}

absl::Status DamagedHeader() { return absl::DataLossError("slot file has a damaged header"); }

}  // namespace

bool SlotFile::Exists(FileSystem* file_system, const std::string& directory) {
  return file_system->Exists(PathIn(directory));
}

absl::StatusOr<std::unique_ptr<SlotFile>> SlotFile::Create(FileSystem* file_system,
                                                           const std::string& directory) {
  if (Exists(file_system, directory)) return absl::AlreadyExistsError("slot file exists already");
  StoreId store_id;
  FillRandom(MutableByteSpan(store_id.data(), store_id.size()));
  std::string content = EncodeIdentity(store_id);
  for (uint64_t counter : {2, 1}) content += EncodeRecord(StateRecord{.counter = counter});
  content.resize(content.size() + kGrowthBytesMin);
  RETURN_IF_ERROR(ReplaceFile(file_system, directory, kSlotFileName, AsBytes(content)));
  return Open(file_system, directory);
}

absl::StatusOr<std::unique_ptr<SlotFile>> SlotFile::Open(FileSystem* file_system,
                                                         const std::string& directory) {
  if (!Exists(file_system, directory)) return absl::NotFoundError("slot file is missing");
  auto file = file_system->Open(PathIn(directory), /*create=*/false);
  RETURN_IF_ERROR(file.status());
  // A process that was killed may have renamed the file and not synced that.
  RETURN_IF_ERROR(file_system->SyncDirectory(directory));

  auto size = (*file)->Size();
  RETURN_IF_ERROR(size.status());
  if (*size < OffsetOfSlot(0)) return DamagedHeader();
  std::string identity(kSlotPageBytes, '\0');
  RETURN_IF_ERROR((*file)->ReadAt(0, MutableBytes(&identity)));
  const std::optional<StoreId> store_id = DecodeIdentity(AsBytes(identity));
  if (!store_id) return DamagedHeader();
  auto record = ReadState(file->get());
  RETURN_IF_ERROR(record.status());

  // A crash while the file grew may have left part of a page.
  const uint64_t pages = (*size - OffsetOfSlot(0)) / kSlotPageBytes;
  if (pages > kSlotCountMax / kSlotsPerPage) {
    return absl::DataLossError(
        absl::StrCat("slot file has ", pages, " pages, limit is ", kSlotCountMax / kSlotsPerPage));
  }
  std::unique_ptr<SlotFile> slots(new SlotFile(*std::move(file), *store_id));
  RETURN_IF_ERROR(slots->Map(static_cast<uint32_t>(pages) * kSlotsPerPage));
  const uint64_t generation_max = slots->AdoptSlots();
  RETURN_IF_ERROR(slots->StartBoot(*record, generation_max >> kGenerationCounterBits));
  return slots;
}

SlotFile::SlotFile(std::unique_ptr<File> file, StoreId store_id)
    : file_(std::move(file)), store_id_(store_id) {}

absl::StatusOr<StateRecord> SlotFile::ReadState(File* file) {
  std::optional<StateRecord> newest;
  for (uint64_t counter : {0, 1}) {
    std::string page(kSlotPageBytes, '\0');
    RETURN_IF_ERROR(file->ReadAt(OffsetOfRecord(counter), MutableBytes(&page)));
    const std::optional<StateRecord> record = DecodeRecord(AsBytes(page));
    if (record && (!newest || record->counter > newest->counter)) newest = record;
  }
  if (!newest) return DamagedHeader();
  return *newest;
}

// Both records get the new number before anything is served: whichever is lost later, no
// generation is given again. The syncs cover the slots too, which may so far be in the page cache
// only, left there by a process that was killed.
absl::Status SlotFile::StartBoot(StateRecord record, uint64_t boot_number_min) {
  boot_number_ = std::max(record.boot_number, boot_number_min) + 1;
  if (boot_number_ > kBootNumberMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat("boot_number is ", boot_number_, ", limit is ", kBootNumberMax));
  }
  synced_sequence_ = record.synced_sequence;
  record_counter_ = record.counter;
  for (int copy = 0; copy < 2; ++copy) {
    RETURN_IF_ERROR(WriteRecord(record.synced_sequence));
    RETURN_IF_ERROR(file_->Sync());
  }
  return absl::OkStatus();
}

// Beyond the end of the file too, by up to twice, so that a growing file is not mapped ever again:
// addresses are plenty, and nothing is read above the capacity.
absl::Status SlotFile::Map(uint32_t slot_count) {
  const uint64_t bytes = OffsetOfSlot(slot_count);
  if (bytes > mapped_bytes_) {
    mapped_bytes_ = std::max(kMappingBytesMin, std::bit_ceil(bytes));
    auto mapping = file_->Map(mapped_bytes_);
    RETURN_IF_ERROR(Final(mapping.status()));
    mapping_.store(mapping->data(), std::memory_order_release);
  }
  capacity_.store(slot_count, std::memory_order_release);
  return absl::OkStatus();
}

// Takes over what the file holds and returns the highest generation in it. Erased slots are free:
// StartBoot makes them durable before anybody reserves.
uint64_t SlotFile::AdoptSlots() {
  MutexLock lock(&mutex_);
  allocator_.Grow(capacity());
  counts_.capacity = counts_.free = capacity();
  uint64_t generation_max = 0;
  for (uint32_t slot = 0; slot < capacity(); ++slot) {
    SlotBytes bytes;
    const SlotContent content = ReadSlot(slot, &bytes);
    WipeMemory(bytes.data(), bytes.size());
    if (content.kind == SlotContent::Kind::kUnused) continue;
    if (content.kind != SlotContent::Kind::kDamaged) {
      generation_max = std::max(generation_max, content.generation);
    }
    if (content.kind == SlotContent::Kind::kErased) continue;
    allocator_.TakeOne(slot);
    --counts_.free;
    if (content.kind == SlotContent::Kind::kLive) {
      ++counts_.live;
    } else {
      damaged_.insert(slot);
      ++counts_.damaged;
    }
  }
  return generation_max;
}

absl::StatusOr<std::vector<SlotLease>> SlotFile::Reserve(size_t count) {
  RETURN_IF_ERROR(CheckUsable());
  std::vector<uint32_t> slots;
  uint64_t generation = 0;
  absl::Status grown;
  while (slots.size() < count) {
    {
      MutexLock lock(&mutex_);
      // Where the file cannot grow, full pages are filled up.
      if (allocator_.HasRoom(count) || (!grown.ok() && allocator_.free() >= count)) {
        allocator_.Take(count, &slots);
        generation = boot_number_ << kGenerationCounterBits | next_counter_;
        next_counter_ += count;
        Check(next_counter_ <= kGenerationCounterMax, "a boot has generations left");
        counts_.free -= count;
        counts_.reserved += count;
        break;
      }
    }
    RETURN_IF_ERROR(grown);
    grown = Grow(count);
    RETURN_IF_ERROR(CheckUsable());
  }

  std::vector<uint8_t> random(count * kSlotSecretBytes);
  FillRandom(absl::MakeSpan(random));
  std::vector<SlotLease> leases;
  leases.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    leases.push_back(
        {.ref = {.slot = slots[i], .generation = generation + i},
         .secret = SecretBytes(ByteSpan(random).subspan(i * kSlotSecretBytes, kSlotSecretBytes))});
  }
  WipeMemory(random.data(), random.size());
  return leases;
}

void SlotFile::Return(absl::Span<const SlotRef> refs) {
  MutexLock lock(&mutex_);
  for (const SlotRef& ref : refs) {
    Check(StateOf(ref) == SlotState::kNeverStored, "a slot that is returned was not written");
    allocator_.Free(ref.slot);
  }
  counts_.reserved -= refs.size();
  counts_.free += refs.size();
}

absl::Status SlotFile::Write(absl::Span<const SlotWrite> writes) {
  RETURN_IF_ERROR(CheckUsable());
  if (writes.empty()) return absl::OkStatus();
  std::vector<const SlotWrite*> sorted;
  for (const SlotWrite& write : writes) sorted.push_back(&write);
  std::sort(sorted.begin(), sorted.end(),
            [](const SlotWrite* a, const SlotWrite* b) { return a->ref.slot < b->ref.slot; });
  std::vector<uint32_t> slots;
  std::vector<SlotBytes> contents;
  contents.reserve(sorted.size());  // no copy of a secret is left behind by growing
  for (const SlotWrite* write : sorted) {
    slots.push_back(write->ref.slot);
    contents.push_back(EncodeLiveSlot(write->ref, write->secret->ExposeBytes()));
  }
  {
    MutexLock lock(&mutex_);
    for (uint32_t slot : slots) {
      Check(allocator_.IsTaken(slot), "a slot that is written is reserved");
    }
  }
  absl::Status written;
  {
    MutexLock lock(&write_mutex_);
    written = WriteRuns(slots, contents);
  }
  WipeMemory(contents.data(), contents.size() * kSlotBytes);
  RETURN_IF_ERROR(written);

  MutexLock lock(&mutex_);
  counts_.reserved -= slots.size();
  counts_.live += slots.size();
  return absl::OkStatus();
}

absl::Status SlotFile::Erase(absl::Span<const SlotRef> refs) {
  RETURN_IF_ERROR(CheckUsable());
  std::vector<SlotRef> sorted(refs.begin(), refs.end());
  std::sort(sorted.begin(), sorted.end(), [](const SlotRef& a, const SlotRef& b) {
    return a.slot != b.slot ? a.slot < b.slot : a.generation < b.generation;
  });

  std::vector<uint32_t> slots;
  std::vector<SlotBytes> contents;
  MutexLock write_lock(&write_mutex_);
  for (const SlotRef& ref : sorted) {
    if (!MayErase(ref) || (!slots.empty() && slots.back() == ref.slot)) continue;
    slots.push_back(ref.slot);
    contents.push_back(EncodeErasedSlot(ref));
  }
  RETURN_IF_ERROR(WriteRuns(slots, contents));

  MutexLock lock(&mutex_);
  for (uint32_t slot : slots) {
    damaged_.erase(slot) > 0 ? --counts_.damaged : --counts_.live;
    ++counts_.unsynced;
  }
  unsynced_.insert(unsynced_.end(), slots.begin(), slots.end());
  return absl::OkStatus();
}

absl::Status SlotFile::Sync(uint64_t synced_sequence) {
  RETURN_IF_ERROR(CheckUsable());
  return SyncTogether(synced_sequence);
}

absl::Status SlotFile::ResetSyncedSequence(uint64_t synced_sequence) {
  RETURN_IF_ERROR(CheckUsable());
  RETURN_IF_ERROR(Final(WriteRecord(synced_sequence)));
  RETURN_IF_ERROR(Final(file_->Sync()));
  synced_sequence_ = synced_sequence;
  return absl::OkStatus();
}

SlotState SlotFile::StateOf(SlotRef ref) const {
  SlotBytes bytes;
  const SlotContent content = ReadSlot(ref.slot, &bytes);
  WipeMemory(bytes.data(), bytes.size());
  if (content.generation != ref.generation) return SlotState::kNeverStored;
  if (content.kind == SlotContent::Kind::kLive) return SlotState::kLive;
  if (content.kind == SlotContent::Kind::kErased) return SlotState::kErased;
  return SlotState::kNeverStored;
}

absl::StatusOr<SecretBytes> SlotFile::ReadSecret(SlotRef ref) const {
  SlotBytes bytes;
  const SlotContent content = ReadSlot(ref.slot, &bytes);
  const bool live =
      content.kind == SlotContent::Kind::kLive && content.generation == ref.generation;
  SecretBytes secret(live ? SecretIn(bytes) : ByteSpan());
  WipeMemory(bytes.data(), bytes.size());
  if (!live) return absl::NotFoundError("slot does not hold that generation");
  return secret;
}

uint64_t SlotFile::NextGeneration() const {
  MutexLock lock(&mutex_);
  return boot_number_ << kGenerationCounterBits | next_counter_;
}

std::vector<SlotRef> SlotFile::LiveSlotsBelow(uint64_t generation, uint32_t first_slot,
                                              uint32_t slot_count) const {
  std::vector<SlotRef> found;
  const auto end =
      static_cast<uint32_t>(std::min<uint64_t>(capacity(), uint64_t{first_slot} + slot_count));
  for (uint32_t slot = first_slot; slot < end; ++slot) {
    SlotBytes bytes;
    const SlotContent content = ReadSlot(slot, &bytes);
    WipeMemory(bytes.data(), bytes.size());
    if (content.kind == SlotContent::Kind::kLive && content.generation < generation) {
      found.push_back({.slot = slot, .generation = content.generation});
    }
  }
  return found;
}

SlotCounts SlotFile::Counts() const {
  MutexLock lock(&mutex_);
  return counts_;
}

absl::Status SlotFile::Grow(size_t count) {
  MutexLock grow_lock(&grow_mutex_);
  {
    MutexLock lock(&mutex_);
    if (allocator_.HasRoom(count)) return absl::OkStatus();
  }
  const uint64_t eighth =
      std::clamp(uint64_t{capacity()} * kSlotBytes / 8, kGrowthBytesMin, kGrowthBytesMax);
  const uint64_t wanted = std::max<uint64_t>(eighth, count * kSlotBytes);
  const uint64_t pages = (wanted + kSlotPageBytes - 1) / kSlotPageBytes;
  const uint64_t slot_count = pages * kSlotsPerPage;
  if (capacity() + slot_count > kSlotCountMax) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "slot_count would be ", capacity() + slot_count, ", limit is ", kSlotCountMax));
  }

  // Not final: a full disk refuses here, and what was written before that is not in use.
  const std::vector<uint8_t> zeros(kGrowthBytesMin);
  const uint64_t end = OffsetOfSlot(capacity()) + pages * kSlotPageBytes;
  for (uint64_t offset = OffsetOfSlot(capacity()); offset < end; offset += zeros.size()) {
    RETURN_IF_ERROR(
        file_->WriteAt(offset, ByteSpan(zeros).first(std::min(zeros.size(), end - offset))));
  }
  dirty_ = true;
  RETURN_IF_ERROR(SyncTogether(synced_sequence_));
  RETURN_IF_ERROR(Map(capacity() + static_cast<uint32_t>(slot_count)));

  MutexLock lock(&mutex_);
  allocator_.Grow(static_cast<uint32_t>(slot_count));
  counts_.capacity += slot_count;
  counts_.free += slot_count;
  return absl::OkStatus();
}

// One fdatasync at a time, shared by all who came before it started. Besides the saving: the kernel
// tells of a failure only once per open file, so of two simultaneous syncs one could be
// told that all is well.
absl::Status SlotFile::SyncTogether(uint64_t synced_sequence) {
  MutexLock lock(&sync_mutex_);
  const uint64_t ticket = ++syncs_requested_;
  sequence_requested_ = std::max(sequence_requested_, synced_sequence);
  while (syncs_done_ < ticket) {
    RETURN_IF_ERROR(CheckUsable());
    if (syncing_) {
      sync_done_.Wait(&sync_mutex_);
      continue;
    }
    syncing_ = true;
    const uint64_t covered = syncs_requested_;
    const uint64_t sequence = sequence_requested_;
    sync_mutex_.Unlock();
    const absl::Status synced = SyncOnce(sequence);
    sync_mutex_.Lock();
    syncing_ = false;
    if (synced.ok()) syncs_done_ = covered;
    sync_done_.NotifyAll();
    RETURN_IF_ERROR(synced);
  }
  return absl::OkStatus();
}

absl::Status SlotFile::SyncOnce(uint64_t synced_sequence) {
  if (!dirty_.exchange(false) && synced_sequence <= synced_sequence_) return absl::OkStatus();
  std::vector<uint32_t> covered;
  {
    MutexLock lock(&mutex_);
    covered.swap(unsynced_);
  }
  if (synced_sequence > synced_sequence_) {
    RETURN_IF_ERROR(Final(WriteRecord(synced_sequence)));
    synced_sequence_ = synced_sequence;
  }
  RETURN_IF_ERROR(Final(file_->Sync()));
  MutexLock lock(&mutex_);
  for (uint32_t slot : covered) allocator_.Free(slot);
  counts_.unsynced -= covered.size();
  counts_.free += covered.size();
  return absl::OkStatus();
}

absl::Status SlotFile::WriteRecord(uint64_t synced_sequence) {
  const StateRecord record{.counter = ++record_counter_,
                           .boot_number = boot_number_,
                           .synced_sequence = synced_sequence};
  return file_->WriteAt(OffsetOfRecord(record.counter), AsBytes(EncodeRecord(record)));
}

absl::Status SlotFile::WriteRuns(absl::Span<const uint32_t> slots,
                                 absl::Span<const SlotBytes> contents) {
  for (size_t first = 0, end = 0; first < slots.size(); first = end) {
    for (end = first + 1; end < slots.size() && slots[end] == slots[end - 1] + 1;) ++end;
    RETURN_IF_ERROR(Final(file_->WriteAt(
        OffsetOfSlot(slots[first]), ByteSpan(contents[first].data(), (end - first) * kSlotBytes))));
  }
  if (!slots.empty()) dirty_ = true;
  return absl::OkStatus();
}

bool SlotFile::MayErase(SlotRef ref) const {
  if (ref.generation == 0) return false;
  SlotBytes bytes;
  const SlotContent content = ReadSlot(ref.slot, &bytes);
  WipeMemory(bytes.data(), bytes.size());
  if (content.kind == SlotContent::Kind::kLive) return content.generation == ref.generation;
  // Its secret may still be in there. A slot that was damaged after opening waits for the next:
  // it might be reserved for another by now.
  if (content.kind != SlotContent::Kind::kDamaged) return false;
  MutexLock lock(&mutex_);
  return damaged_.contains(ref.slot);
}

absl::Status SlotFile::CheckUsable() const {
  if (!failed_) return absl::OkStatus();
  return absl::UnavailableError("slot file failed before: it must be opened again");
}

absl::Status SlotFile::Final(absl::Status status) {
  if (!status.ok()) failed_ = true;
  return status;
}

SlotContent SlotFile::ReadSlot(uint32_t slot, SlotBytes* bytes) const {
  SlotContent content{.kind = SlotContent::Kind::kDamaged};
  // The capacity first: the mapping is at least as large.
  if (slot < capacity()) {
    const uint8_t* const mapping = mapping_.load(std::memory_order_acquire);
    for (int attempt = 0; attempt < kReadAttemptsMax; ++attempt) {
      memcpy(bytes->data(), mapping + OffsetOfSlot(slot), kSlotBytes);
      content = DecodeSlot(slot, *bytes);
      if (content.kind != SlotContent::Kind::kDamaged) return content;
      if (attempt >= kReadAttemptsBeforeYield) std::this_thread::yield();
    }
  }
  alarms_.fetch_add(1, std::memory_order_relaxed);
  return content;
}

}  // namespace mayfly
