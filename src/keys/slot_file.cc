#include "keys/slot_file.h"

#include <algorithm>
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

// Zeros are written and synced while reservations wait: about 20 ms for these.
constexpr uint64_t kGrowthBytesMax = uint64_t{16} << 20;

// A reader may meet a slot in the middle of a pwrite, which lasts nanoseconds unless its thread is
// interrupted there.
constexpr int kReadAttemptsAtOnce = 10;
constexpr int kReadAttemptsPaused = 30;
constexpr absl::Duration kReadPause = absl::Milliseconds(1);

}  // namespace

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
  erased_.insert(erased_.end(), slots.begin(), slots.end());
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
  if (ref.generation >= synced_generation_) return SlotState::kNeverStored;
  // It was there. A slot is given to a later payload only when it was erased, and never to an earlier
  // one.
  return content.generation > ref.generation ? SlotState::kErased : SlotState::kDamaged;
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
  const auto holds = [slot](const auto& slots) {
    return std::find(slots.begin(), slots.end(), slot) != slots.end();
  };
  return allocator_.IsTaken(slot) && !holds(erased_) && !holds(kept_) &&
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
