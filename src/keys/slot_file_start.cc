// Making and opening a slot file: what a start finds in it.
#include <algorithm>
#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "crypto/random.h"
#include "keys/slot_file.h"

namespace mayfly {
namespace {

constexpr char kSlotFileName[] = "slots";
constexpr uint64_t kMappingBytesMin = uint64_t{16} << 20;

std::string PathIn(const std::string& directory) {
  return absl::StrCat(directory, "/", kSlotFileName);
}

MutableByteSpan MutableBytes(std::string* text) {
  return MutableByteSpan(reinterpret_cast<uint8_t*>(text->data()), text->size());
}

absl::Status DamagedHeader() {
  return absl::DataLossError("the slot file keys/slots has a damaged header");
}

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
  if (slots.ok()) (*slots)->OrphansRemoved(/*all=*/true);
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
  std::unique_ptr<SlotFile> slots(
      new SlotFile(*std::move(file), *store_id, options.waits_for_rows));
  RETURN_IF_ERROR(slots->Map(static_cast<uint32_t>(slot_count)));
  const uint64_t generation_max = slots->AdoptSlots(record->synced_generation);
  if (!options.accept_data_loss) RETURN_IF_ERROR(slots->CheckDamage());
  RETURN_IF_ERROR(slots->StartBoot(*record, generation_max >> kGenerationCounterBits));
  if (options.accept_data_loss) RETURN_IF_ERROR(slots->GiveUpDamaged());
  return slots;
}

SlotFile::SlotFile(std::unique_ptr<File> file, StoreId store_id, bool waits_for_rows)
    : file_(std::move(file)), store_id_(store_id), waits_for_rows_(waits_for_rows) {}

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
  erased_.insert(erased_.end(), slots.begin(), slots.end());
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

// Takes over what the file holds and returns the highest generation in it. Erased slots are free, for
// StartBoot makes them durable before anybody reserves, unless their rows may have come back and
// StateOf could not tell without the mark.
uint64_t SlotFile::AdoptSlots(uint64_t recorded_generation) {
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
    const bool is_erased = content.kind == SlotContent::Kind::kErased;
    const bool may_be_needed = waits_for_rows_ && content.generation >= recorded_generation;
    if (is_erased && !may_be_needed) continue;
    allocator_.TakeOne(slot);
    --counts_.free;
    if (is_erased) {
      kept_.push_back(slot);
      ++counts_.unsynced;
    } else if (content.kind == SlotContent::Kind::kLive) {
      ++counts_.live;
    } else {
      damaged_.insert(slot);
      ++counts_.damaged;
    }
  }
  return generation_max;
}

}  // namespace mayfly
