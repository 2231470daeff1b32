#include "keys/slot_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

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
constexpr int kReadAttemptsAtOnce = 10;
constexpr int kReadAttemptsPaused = 30;
constexpr absl::Duration kReadPause = absl::Milliseconds(1);

std::string PathIn(const std::string& directory) {
  return absl::StrCat(directory, "/", kSlotFileName);
}

MutableByteSpan MutableBytes(std::string* text) {
  return MutableByteSpan(reinterpret_cast<uint8_t*>(text->data()), text->size());
}

absl::Status DamagedHeader() {
  return absl::DataLossError("the slot file keys/slots has a damaged header");
}

uint64_t FirstGenerationOf(uint64_t boot_number) { return boot_number << kGenerationCounterBits; }

}  // namespace

bool SlotFile::Exists(FileSystem* file_system, const std::string& directory) {
  return file_system->Exists(PathIn(directory));
}

absl::StatusOr<std::unique_ptr<SlotFile>> SlotFile::Create(FileSystem* file_system,
                                                           const std::string& directory,
                                                           const SlotFileOptions& options) {
  if (Exists(file_system, directory)) return absl::AlreadyExistsError("slot file exists already");
  StoreId store_id;
  FillRandom(MutableByteSpan(store_id.data(), store_id.size()));
  std::string content = EncodeIdentity(options.store_id.value_or(store_id));
  for (uint64_t counter : {2, 1}) {
    content += EncodeRecord({.counter = counter, .capacity = kGrowthBytesMin / kSlotBytes});
  }
  content.resize(content.size() + kGrowthBytesMin);
  RETURN_IF_ERROR(ReplaceFile(file_system, directory, kSlotFileName, AsBytes(content)));
  auto slots = Open(file_system, directory, options);
  if (slots.ok()) (*slots)->OrphansRemoved();
  return slots;
}

absl::StatusOr<std::unique_ptr<SlotFile>> SlotFile::Open(FileSystem* file_system,
                                                         const std::string& directory,
                                                         const SlotFileOptions& options) {
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
  if (options.store_id && *options.store_id != *store_id) {
    return absl::FailedPreconditionError("the slot file keys/slots is another store's");
  }
  auto record = ReadState(file->get());
  RETURN_IF_ERROR(record.status());

  // A crash while the file grew may have left part of a page.
  const uint64_t pages = (*size - OffsetOfSlot(0)) / kSlotPageBytes;
  if (pages > kSlotCountMax / kSlotsPerPage) {
    return absl::DataLossError(
        absl::StrCat("slot file has ", pages, " pages, limit is ", kSlotCountMax / kSlotsPerPage));
  }
  const uint64_t slot_count = pages * kSlotsPerPage;
  if (slot_count < record->capacity && !options.accept_data_loss) {
    return absl::DataLossError(absl::StrCat("the slot file keys/slots has ", slot_count,
                                            " slots, it once had ", record->capacity));
  }
  std::unique_ptr<SlotFile> slots(new SlotFile(*std::move(file), *store_id));
  RETURN_IF_ERROR(slots->Map(static_cast<uint32_t>(slot_count)));
  const uint64_t generation_max = slots->AdoptSlots();
  if (!options.accept_data_loss) RETURN_IF_ERROR(slots->CheckDamage());
  RETURN_IF_ERROR(slots->StartBoot(*record, generation_max >> kGenerationCounterBits));
  if (options.accept_data_loss) RETURN_IF_ERROR(slots->GiveUpDamaged());
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
absl::Status SlotFile::StartBoot(const StateRecord& record, uint64_t boot_number_min) {
  boot_number_ = std::max(record.boot_number, boot_number_min) + 1;
  if (boot_number_ > kBootNumberMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat("boot_number is ", boot_number_, ", limit is ", kBootNumberMax));
  }
  synced_sequence_ = record.synced_sequence;
  synced_generation_ = recorded_generation_ = record.synced_generation;
  MutexLock lock(&record_mutex_);
  rows_generation_ = record.synced_generation;
  record_counter_ = record.counter;
  // A file that was growing is not durable as large as it is before the first of the two syncs.
  synced_capacity_ = std::min(record.capacity, capacity());
  for (int copy = 0; copy < 2; ++copy) {
    RETURN_IF_ERROR(WriteRecord());
    RETURN_IF_ERROR(file_->Sync());
    synced_capacity_ = capacity();
  }
  record_dirty_ = false;
  return absl::OkStatus();
}

absl::Status SlotFile::CheckDamage() const {
  MutexLock lock(&mutex_);
  if (damaged_.empty()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(
      "the slot file keys/slots has ", damaged_.size(), " damaged slots of ", capacity(),
      ", the first is number ", *std::min_element(damaged_.begin(), damaged_.end())));
}

// The marks have a generation that is above all that were there and is given to nobody, so that what
// pointed to the slots has ended for good. What lies beyond the end counts as never stored.
absl::Status SlotFile::GiveUpDamaged() {
  synced_generation_ = recorded_generation_ = 0;
  MutexLock write_lock(&write_mutex_);
  std::vector<uint32_t> slots;
  {
    MutexLock lock(&mutex_);
    slots.assign(damaged_.begin(), damaged_.end());
  }
  std::sort(slots.begin(), slots.end());
  std::vector<SlotBytes> contents;
  for (const uint32_t slot : slots) {
    contents.push_back(
        EncodeErasedSlot({.slot = slot, .generation = FirstGenerationOf(boot_number_)}));
  }
  RETURN_IF_ERROR(WriteRuns(slots, contents));
  MutexLock lock(&mutex_);
  counts_.damaged -= slots.size();
  counts_.unsynced += slots.size();
  damaged_.clear();
  unsynced_ = std::move(slots);
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
    // Nobody writes yet.
    const SlotContent content = LookAtSlot(slot, &bytes);
    WipeMemory(bytes.data(), bytes.size());
    if (content.kind == SlotContent::Kind::kUnused) continue;
    if (content.kind == SlotContent::Kind::kDamaged) {
      alarms_.fetch_add(1, std::memory_order_relaxed);
      NoteDamaged(slot);
    } else {
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
        generation = FirstGenerationOf(boot_number_) | next_counter_;
        next_counter_ += count;
        if (count > 0) reservations_[generation] = {.slots = slots, .left = count};
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
    const SlotState state = StateOf(ref);
    Check(state == SlotState::kNeverStored || state == SlotState::kDamaged,
          "a slot that is returned was not written");
    EndReservation(ref);
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
  for (const SlotWrite* write : sorted) EndReservation(write->ref);
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

SlotState SlotFile::StateOf(SlotRef ref) const {
  SlotBytes bytes;
  const SlotContent content = ReadSlot(ref.slot, &bytes);
  WipeMemory(bytes.data(), bytes.size());
  if (content.kind == SlotContent::Kind::kDamaged) return SlotState::kDamaged;
  if (content.generation == ref.generation) {
    return content.kind == SlotContent::Kind::kLive ? SlotState::kLive : SlotState::kErased;
  }
  // A slot is given to a later payload only when it was erased, and never to an earlier one.
  if (content.generation > ref.generation) return SlotState::kNeverStored;
  return ref.generation < synced_generation_ ? SlotState::kDamaged : SlotState::kNeverStored;
}

absl::StatusOr<SecretBytes> SlotFile::ReadSecret(SlotRef ref) const {
  SlotBytes bytes;
  const SlotContent content = ReadSlot(ref.slot, &bytes);
  const bool live =
      content.kind == SlotContent::Kind::kLive && content.generation == ref.generation;
  SecretBytes secret(live ? SecretIn(bytes) : ByteSpan());
  WipeMemory(bytes.data(), bytes.size());
  if (live) return secret;
  if (StateOf(ref) == SlotState::kDamaged) {
    return MakeError(absl::StatusCode::kDataLoss, Reason::kAuthenticationFailed,
                     "the secret of the stored payload is damaged");
  }
  return absl::NotFoundError("slot does not hold that generation");
}

void SlotFile::Quarantine(SlotRef ref) {
  if (ref.slot >= capacity()) return;
  MutexLock lock(&mutex_);
  if (allocator_.IsTaken(ref.slot)) return;
  allocator_.TakeOne(ref.slot);
  damaged_.insert(ref.slot);
  --counts_.free;
  ++counts_.damaged;
}

uint64_t SlotFile::NextGeneration() const {
  MutexLock lock(&mutex_);
  return FirstGenerationOf(boot_number_) | next_counter_;
}

uint64_t SlotFile::WrittenGeneration() const {
  MutexLock lock(&mutex_);
  return LowestReserved();
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
  RETURN_IF_ERROR(SyncTogether());
  {
    // Before any slot in the new part is written, so that no sync covers one without the other.
    MutexLock lock(&record_mutex_);
    synced_capacity_ = capacity() + static_cast<uint32_t>(slot_count);
    RETURN_IF_ERROR(Final(WriteRecord()));
  }
  RETURN_IF_ERROR(Map(capacity() + static_cast<uint32_t>(slot_count)));

  MutexLock lock(&mutex_);
  allocator_.Grow(static_cast<uint32_t>(slot_count));
  counts_.capacity += slot_count;
  counts_.free += slot_count;
  return absl::OkStatus();
}

uint64_t SlotFile::LowestReserved() const {
  if (!reservations_.empty()) return reservations_.begin()->first;
  return FirstGenerationOf(boot_number_) | next_counter_;
}

void SlotFile::EndReservation(SlotRef ref) {
  auto reservation = reservations_.upper_bound(ref.generation);
  Check(reservation != reservations_.begin(), "a slot that is written or returned was reserved");
  --reservation;
  Reservation& reserved = reservation->second;
  const uint64_t index = ref.generation - reservation->first;
  Check(index < reserved.slots.size() && reserved.slots[index] == ref.slot,
        "a slot is written or returned once");
  reserved.slots[index] = kNoSlot;
  if (--reserved.left == 0) reservations_.erase(reservation);
}

// Walks all reservations: for damaged slots only.
bool SlotFile::IsInUse(uint32_t slot) const {
  const auto holds = [slot](const std::vector<uint32_t>& slots) {
    return std::find(slots.begin(), slots.end(), slot) != slots.end();
  };
  return allocator_.IsTaken(slot) && !holds(unsynced_) && !holds(syncing_slots_) &&
         std::none_of(reservations_.begin(), reservations_.end(),
                      [&](const auto& reservation) { return holds(reservation.second.slots); });
}

absl::Status SlotFile::WriteRuns(absl::Span<const uint32_t> slots,
                                 absl::Span<const SlotBytes> contents) {
  for (size_t first = 0, end = 0; first < slots.size(); first = end) {
    for (end = first + 1; end < slots.size() && slots[end] == slots[end - 1] + 1;) ++end;
    RETURN_IF_ERROR(Final(file_->WriteAt(
        OffsetOfSlot(slots[first]), ByteSpan(contents[first].data(), (end - first) * kSlotBytes))));
  }
  if (!slots.empty()) dirty_ = true;
  MutexLock lock(&known_damaged_mutex_);
  if (!known_damaged_.empty()) {
    for (const uint32_t slot : slots) known_damaged_.erase(slot);
  }
  return absl::OkStatus();
}

void SlotFile::NoteDamaged(uint32_t slot) const {
  MutexLock lock(&known_damaged_mutex_);
  known_damaged_.insert(slot);
}

bool SlotFile::IsKnownDamaged(uint32_t slot) const {
  MutexLock lock(&known_damaged_mutex_);
  return known_damaged_.contains(slot);
}

bool SlotFile::MayErase(SlotRef ref) const {
  if (ref.generation == 0) return false;
  SlotBytes bytes;
  const SlotContent content = ReadSlot(ref.slot, &bytes);
  WipeMemory(bytes.data(), bytes.size());
  if (content.kind == SlotContent::Kind::kLive) return content.generation == ref.generation;
  if (ref.slot >= capacity()) return false;
  MutexLock lock(&mutex_);
  // Its secret may still be in there, unless it is another's by now.
  if (content.kind == SlotContent::Kind::kDamaged) return IsInUse(ref.slot);
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

SlotContent SlotFile::LookAtSlot(uint32_t slot, SlotBytes* bytes) const {
  // The capacity first: the mapping is at least as large.
  if (slot >= capacity()) return SlotContent();
  memcpy(bytes->data(), mapping_.load(std::memory_order_acquire) + OffsetOfSlot(slot), kSlotBytes);
  return DecodeSlot(slot, *bytes);
}

SlotContent SlotFile::ReadSlot(uint32_t slot, SlotBytes* bytes) const {
  const auto is_damaged = [](const SlotContent& content) {
    return content.kind == SlotContent::Kind::kDamaged;
  };
  SlotContent content = LookAtSlot(slot, bytes);
  for (int i = 0; is_damaged(content) && i < kReadAttemptsAtOnce; ++i) {
    content = LookAtSlot(slot, bytes);
  }
  if (is_damaged(content) && !IsKnownDamaged(slot)) {
    for (int i = 0; is_damaged(content) && i < kReadAttemptsPaused; ++i) {
      absl::SleepFor(kReadPause);
      content = LookAtSlot(slot, bytes);
    }
    if (is_damaged(content)) NoteDamaged(slot);
  }
  if (is_damaged(content) || slot >= capacity()) alarms_.fetch_add(1, std::memory_order_relaxed);
  return content;
}

}  // namespace mayfly
