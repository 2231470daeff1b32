#include "storage/local/segment_files.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "base/crc32c.h"
#include "base/error.h"

namespace mayfly {
namespace {

constexpr absl::string_view kSegmentFileSuffix = ".segments";
// A file that is appended to and holds nothing is removed when it is as long: sooner, a file would
// be made for every payload of a caller who puts and acks one after another.
constexpr uint64_t kEmptyBytesMax = uint64_t{64} << 20;

bool Precedes(const SegmentExtent& a, const SegmentExtent& b) {
  return std::pair(a.file, a.offset) < std::pair(b.file, b.offset);
}

}  // namespace

std::string SegmentFileName(const SegmentFileId& id) {
  return absl::StrCat(id.due_hour, "-", id.boot, "-", id.number, kSegmentFileSuffix);
}

std::optional<SegmentFileId> ParseSegmentFileName(absl::string_view name) {
  absl::string_view numbers = name;
  if (!absl::ConsumeSuffix(&numbers, kSegmentFileSuffix)) return std::nullopt;
  const std::vector<absl::string_view> parts = absl::StrSplit(numbers, '-');
  SegmentFileId id;
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &id.due_hour) ||
      !absl::SimpleAtoi(parts[1], &id.boot) || !absl::SimpleAtoi(parts[2], &id.number) ||
      SegmentFileName(id) != name) {
    return std::nullopt;
  }
  return id;
}

std::string SegmentFiles::PathOf(const SegmentFileId& id) const {
  return absl::StrCat(options_.directory, "/", SegmentFileName(id));
}

void SegmentFiles::Adopt(const Adopted& file) {
  MutexLock lock(&mutex_);
  FileState& state = files_[file.id];
  state.live.insert(file.live.begin(), file.live.end());
  state.may_have_others = file.may_have_others;
}

// ---- Appending

absl::StatusOr<SegmentExtent> SegmentFiles::Append(uint32_t due_hour, ByteSpan segment) {
  SegmentExtent extent = {.size_bytes = static_cast<uint32_t>(segment.size()),
                          .crc32c = Crc32c(segment)};
  Place place;
  std::vector<SegmentFileId> useless;
  {
    MutexLock lock(&append_mutex_);
    std::optional<Place> found = PlaceInCurrent(due_hour, extent.room_bytes(), &useless);
    if (!found) {
      auto made = PlaceInNewFile(due_hour, extent.room_bytes());
      RETURN_IF_ERROR(made.status());
      found = *std::move(made);
    }
    place = *std::move(found);
  }
  for (const SegmentFileId& id : useless) Remove(id);
  extent.file = place.id;
  extent.offset = place.offset;
  const absl::Status written = place.file->WriteAt(place.offset, segment);
  if (written.ok()) {
    // Or the sync that ends an upload would have all of it to write.
    place.file->StartWriteback(place.offset, segment.size());
    (void)EndWrite(extent, /*is_written=*/true);
    return extent;
  }
  if (!IsOutOfSpace(written)) return options_.health->Fail("writing a segment", written.message());
  // A part of it may have been written. A place that is not given again need not be a hole.
  (void)place.file->PunchHole(extent.offset, extent.room_bytes());
  if (EndWrite(extent, /*is_written=*/false)) Remove(extent.file);
  return written;
}

std::optional<SegmentFiles::Place> SegmentFiles::PlaceInCurrent(
    uint32_t due_hour, uint64_t room_bytes, std::vector<SegmentFileId>* useless) {
  MutexLock lock(&mutex_);
  const auto current = current_.find(due_hour);
  if (current == current_.end()) return std::nullopt;
  const SegmentFileId id = current->second;
  FileState& state = files_[id];
  if (state.end + room_bytes <= options_.file_bytes_max) return TakePlace(id, &state, room_bytes);
  current_.erase(current);
  state.is_current = false;
  state.CloseIfIdle();
  if (ForgetIfUseless(id)) useless->push_back(id);
  return std::nullopt;
}

absl::StatusOr<SegmentFiles::Place> SegmentFiles::PlaceInNewFile(uint32_t due_hour,
                                                                 uint64_t room_bytes) {
  const SegmentFileId id = {.due_hour = due_hour, .boot = options_.boot, .number = next_number_};
  auto file = options_.file_system->Open(PathOf(id), /*create=*/true);
  if (!file.ok()) {
    if (IsOutOfSpace(file.status()) || WroteNothing(file.status())) return file.status();
    return options_.health->Fail("making a segment file", file.status().message());
  }
  ++next_number_;
  MutexLock lock(&mutex_);
  FileState& state = files_[id];
  state.file = *std::move(file);
  state.is_current = true;
  current_[due_hour] = id;
  directory_is_dirty_ = true;
  return TakePlace(id, &state, room_bytes);
}

SegmentFiles::Place SegmentFiles::TakePlace(const SegmentFileId& id, FileState* state,
                                            uint64_t room_bytes) {
  const uint64_t offset = state->end;
  state->writing.insert(offset);
  state->end += room_bytes;
  state->live.insert(static_cast<uint32_t>(offset / kSegmentAlignment));
  return {.id = id, .file = state->file, .offset = offset};
}

bool SegmentFiles::EndWrite(const SegmentExtent& extent, bool is_written) {
  MutexLock lock(&mutex_);
  // A file in which something is being written stays.
  FileState& state = files_[extent.file];
  state.writing.erase(extent.offset);
  if (is_written) {
    state.is_dirty = true;
    dirty_.insert(extent.file);
    is_dirty_.store(true, std::memory_order_release);
    return false;
  }
  state.live.erase(extent.place());
  // The next one takes the place, if none came behind it.
  if (state.end == extent.offset + extent.room_bytes()) state.end = extent.offset;
  state.CloseIfIdle();
  return ForgetIfUseless(extent.file);
}

// ---- Reading

absl::StatusOr<Sealed> SegmentFiles::Read(const SegmentExtent& extent) {
  const auto file = OpenToRead(extent.file);
  RETURN_IF_ERROR(file.status());
  absl::Status status;
  const Sealed segment = Sealed::Make(extent.size_bytes, [&](MutableByteSpan ciphertext) {
    status = (*file)->ReadAt(extent.offset, ciphertext);
    if (status.ok() && Crc32c(ByteSpan(ciphertext.data(), ciphertext.size())) != extent.crc32c) {
      status = absl::DataLossError(absl::StrCat("the segment file segments/",
                                                SegmentFileName(extent.file), " is damaged at ",
                                                extent.offset));
    }
  });
  if (status.ok()) return segment;
  // Another file may be put in its place.
  MutexLock lock(&mutex_);
  Close(extent.file);
  return status;
}

absl::StatusOr<std::shared_ptr<File>> SegmentFiles::OpenToRead(const SegmentFileId& id) {
  {
    MutexLock lock(&mutex_);
    const auto state = files_.find(id);
    if (state != files_.end() && state->second.file != nullptr) return state->second.file;
    const auto open = std::find_if(open_.begin(), open_.end(),
                                   [&](const auto& each) { return each.first == id; });
    if (open != open_.end()) {
      open_.splice(open_.begin(), open_, open);
      return open->second;
    }
  }
  auto opened = options_.file_system->Open(PathOf(id), /*create=*/false);
  RETURN_IF_ERROR(opened.status());
  std::shared_ptr<File> file = *std::move(opened);
  MutexLock lock(&mutex_);
  open_.emplace_front(id, file);
  if (open_.size() > kOpenFilesMax) open_.pop_back();
  return file;
}

void SegmentFiles::Close(const SegmentFileId& id) {
  open_.remove_if([&](const auto& each) { return each.first == id; });
}

// ---- Syncing

absl::Status SegmentFiles::Sync() {
  struct Written {
    SegmentFileId id;
    std::shared_ptr<File> file;
    uint64_t bytes = 0;
  };
  // Held to the end, so that nobody takes a sync that is under way for one that is done.
  MutexLock sync_lock(&sync_mutex_);
  std::vector<Written> written;
  bool directory_is_dirty = false;
  {
    MutexLock lock(&mutex_);
    is_dirty_.store(false, std::memory_order_release);
    for (const SegmentFileId& id : std::exchange(dirty_, {})) {
      FileState& state = files_[id];
      state.is_dirty = false;
      written.push_back({.id = id, .file = state.file, .bytes = state.written_bytes()});
    }
    directory_is_dirty = std::exchange(directory_is_dirty_, false);
  }
  for (const Written& each : written) {
    const absl::Status synced = each.file->Sync();
    if (!synced.ok()) return options_.health->Fail("syncing a segment file", synced.message());
  }
  if (directory_is_dirty) {
    const absl::Status synced = options_.file_system->SyncDirectory(options_.directory);
    if (!synced.ok()) {
      return options_.health->Fail("syncing the segment files' directory", synced.message());
    }
  }
  MutexLock lock(&mutex_);
  for (const Written& each : written) {
    const auto state = files_.find(each.id);
    if (state == files_.end()) continue;
    state->second.synced_bytes = std::max(state->second.synced_bytes, each.bytes);
    state->second.CloseIfIdle();
    newly_synced_.insert(each.id);
  }
  return absl::OkStatus();
}

SegmentFiles::News SegmentFiles::TakeNews() {
  MutexLock lock(&mutex_);
  News news;
  for (const SegmentFileId& id : std::exchange(newly_synced_, {})) {
    const auto state = files_.find(id);
    if (state != files_.end()) news.synced_bytes.emplace_back(id, state->second.synced_bytes);
  }
  news.removed = std::exchange(removed_, {});
  return news;
}

size_t SegmentFiles::file_count() const {
  MutexLock lock(&mutex_);
  return files_.size();
}

// ---- Giving room back

void SegmentFiles::Release(std::vector<SegmentExtent> extents) {
  std::sort(extents.begin(), extents.end(), Precedes);
  for (auto first = extents.begin(); first != extents.end();) {
    const SegmentFileId id = first->file;
    const auto end = std::find_if(first, extents.end(),
                                  [&](const SegmentExtent& each) { return each.file != id; });
    const auto released = absl::MakeSpan(&*first, static_cast<size_t>(end - first));
    if (ForgetReleased(id, released)) {
      Remove(id);
    } else {
      PunchHoles(id, released);
    }
    first = end;
  }
}

bool SegmentFiles::ForgetReleased(const SegmentFileId& id,
                                  absl::Span<const SegmentExtent> released) {
  MutexLock lock(&mutex_);
  const auto found = files_.find(id);
  if (found == files_.end()) return false;
  for (const SegmentExtent& extent : released) found->second.live.erase(extent.place());
  return ForgetIfUseless(id);
}

bool SegmentFiles::ForgetIfUseless(const SegmentFileId& id) {
  const auto found = files_.find(id);
  const FileState& state = found->second;
  if (!state.live.empty() || state.may_have_others) return false;
  if (state.is_current) {
    if (punches_holes_ && state.end < kEmptyBytesMax) return false;
    current_.erase(id.due_hour);
  }
  files_.erase(found);
  dirty_.erase(id);
  Close(id);
  return true;
}

void SegmentFiles::PunchHoles(const SegmentFileId& id, absl::Span<const SegmentExtent> extents) {
  if (!punches_holes_ || !options_.health->Check().ok()) return;
  const auto file = OpenToRead(id);
  // It was removed, or is lost, or no descriptor is free: then the room comes back with the file.
  if (!file.ok()) return;
  for (size_t i = 0; i < extents.size();) {
    const uint64_t offset = extents[i].offset;
    uint64_t end = offset;
    for (; i < extents.size() && extents[i].offset == end; ++i) end += extents[i].room_bytes();
    const absl::Status punched = (*file)->PunchHole(offset, end - offset);
    if (punched.ok()) continue;
    if (absl::IsUnimplemented(punched)) {
      if (punches_holes_.exchange(false)) {
        options_.health->Log(
            StorageLogLevel::kWarning,
            "the file system of storage.data_dir has no holes (fallocate with "
            "FALLOC_FL_PUNCH_HOLE): the room of a large payload comes back with the last one in "
            "its file, up to an hour after its deadline, instead of at its end");
      }
      return;
    }
    // The file system may need a block to free others.
    if (IsOutOfSpace(punched)) continue;
    (void)options_.health->Fail("giving back the room of segments", punched.message());
    return;
  }
}

void SegmentFiles::Remove(const SegmentFileId& id) {
  const absl::Status removed = options_.file_system->Remove(PathOf(id));
  if (!removed.ok() && !absl::IsNotFound(removed)) {
    // It is found again by the next start.
    options_.health->Log(StorageLogLevel::kWarning, removed.message());
    return;
  }
  MutexLock lock(&mutex_);
  removed_.push_back(id);
}

void SegmentFiles::RemoveHoursBefore(uint32_t due_hour) {
  std::vector<SegmentFileId> passed;
  {
    MutexLock lock(&mutex_);
    for (auto file = files_.begin(); file != files_.end() && file->first.due_hour < due_hour;) {
      file->second.is_current = false;
      if (!file->second.writing.empty()) {
        ++file;  // it goes the next time
        continue;
      }
      passed.push_back(file->first);
      dirty_.erase(file->first);
      Close(file->first);
      file = files_.erase(file);
    }
    current_.erase(current_.begin(), current_.lower_bound(due_hour));
  }
  for (const SegmentFileId& id : passed) Remove(id);
}

}  // namespace mayfly
