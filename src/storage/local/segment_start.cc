// A start compares the segment files with the rows that name their content.
//
//   a row whose segment is behind the end of what     the payload was never stored; an upload goes on
//   was synced, and is not there or is damaged        before the first of them
//   a row whose segment was synced, and whose file    data loss: the start is refused, or the operator
//   is missing or too short                           accepts it and the call answers DATA_LOSS
//   a part of a file that no row names                its room is given back: a hole, or the end of
//                                                     the file is cut off
//   a file that no row names                          removed
//
// Only segments that were not known to be synced are read, about a second's worth. Nothing is changed
// before it is certain that the start is not refused.
#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"

#include "base/crc32c.h"
#include "base/error.h"
#include "storage/local/local_storage.h"
#include "storage/local/row_format.h"

namespace mayfly {
namespace {

constexpr char kMissing[] = "is missing";
// How a file system counts what names a file's blocks: a block for some hundred pieces.
constexpr uint64_t kPiecesPerBlock = 64;
constexpr uint64_t kSlackBlocks = 8;

}  // namespace

class LocalStorage::SegmentStart {
 public:
  explicit SegmentStart(LocalStorage* storage)
      : storage_(*storage),
        directory_(storage->directory_->segments_path()),
        files_(storage->options_.file_system) {}

  absl::Status Run() {
    const std::vector<Hour> hours = storage_.keyring_->Hours();
    first_hour_ = hours.empty() ? INT64_MAX : hours.front();
    RETURN_IF_ERROR(ListFiles());
    RETURN_IF_ERROR(LoadFileRows());
    RETURN_IF_ERROR(WalkSegments());
    RETURN_IF_ERROR(RefuseLostFiles());
    RETURN_IF_ERROR(CheckUnsynced());
    if (!damaged_.empty()) {
      RETURN_IF_ERROR(GiveUpUnsynced());
      for (auto& [id, census] : census_) {
        census.named.clear();
        census.named_bytes = census.named_end = 0;
      }
      RETURN_IF_ERROR(WalkSegments());
    }
    for (auto& [id, census] : census_) RETURN_IF_ERROR(Tidy(id, &census));
    RETURN_IF_ERROR(files_->SyncDirectory(directory_));
    if (rows_.Count() == 0) return absl::OkStatus();
    return storage_.Write(&rows_, "recording segment files");
  }

 private:
  // One file, as the rows have it and as it is.
  struct Census {
    struct Piece {
      uint32_t begin = 0;  // in units of kSegmentAlignment
      uint32_t end = 0;
    };

    std::string fault;  // "is missing"; empty when it is there and can be read
    uint64_t size_bytes = 0;
    std::optional<SegmentFileRow> row;         // as it is to be
    std::optional<SegmentFileRow> stored_row;  // as it is

    std::vector<Piece> named;
    uint64_t named_bytes = 0;
    uint64_t named_end = 0;
    uint64_t lost_segments = 0;

    bool is_there() const { return fault.empty(); }
    // Others than these are no work of a crash.
    bool is_there_or_missing() const { return is_there() || fault == kMissing; }
    uint64_t synced_bytes() const { return row ? row->synced_bytes : 0; }
  };

  struct UnsyncedSegment {
    SegmentsRef payload;
    uint32_t number = 0;
    SegmentExtent extent;
  };

  absl::Status ListFiles() {
    std::error_code error;
    auto entry = std::filesystem::directory_iterator(directory_, error);
    for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
      const auto id = ParseSegmentFileName(entry->path().filename().string());
      if (!id) continue;
      Census& census = census_[*id];
      std::error_code gone;
      if (!entry->is_regular_file(gone)) {
        census.fault = "is not a regular file";
        continue;
      }
      const auto file = files_->Open(entry->path().string(), /*create=*/false);
      if (WroteNothing(file.status())) return file.status();
      const auto size = file.ok() ? (*file)->Size() : file.status();
      if (size.ok()) {
        census.size_bytes = *size;
      } else {
        census.fault = absl::StrCat("cannot be read: ", size.status().message());
      }
    }
    if (!error) return absl::OkStatus();
    return absl::UnavailableError(
        absl::StrCat("the segment directory ", directory_, " cannot be listed: ", error.message()));
  }

  absl::Status LoadFileRows() {
    RowWalk rows(*storage_.database_, Family::kSegmentFiles);
    for (; rows.Valid(); rows.Next()) {
      const auto row = DecodeSegmentFile(rows.key(), rows.value());
      if (!row) return absl::DataLossError("a segment file's row is not in our format");
      Census& census = CensusOf(row->first);
      census.row = census.stored_row = row->second;
    }
    return storage_.EndWalk("reading the rows of segment files", rows);
  }

  Census& CensusOf(const SegmentFileId& id) {
    const auto [place, is_new] = census_.try_emplace(id);
    if (is_new) place->second.fault = kMissing;
    return place->second;
  }

  absl::Status WalkSegments() {
    unsynced_.clear();
    RowWalk rows(*storage_.database_, Family::kSegments);
    for (; rows.Valid(); rows.Next()) {
      const auto key = DecodeSegmentKey(rows.key());
      if (!key) return absl::DataLossError("a segment's key is not in our format");
      if (rows.value().empty()) {
        storage_.lost_generations_.insert(key->first.slot.generation);
        continue;
      }
      const std::optional<SegmentExtent> extent = DecodeSegmentExtent(rows.value());
      if (!extent) {
        (void)storage_.BadRow("reading segments", &key->first.key);
        is_whole_ = false;
        continue;
      }
      // The key of its hour is destroyed: nobody can open what is in it.
      if (extent->file.due_hour < first_hour_) continue;
      Count(key->first, key->second, *extent);
    }
    is_whole_ &= rows.skips() == 0;
    return storage_.EndWalk("reading segments", rows);
  }

  void Count(const SegmentsRef& payload, uint32_t number, const SegmentExtent& extent) {
    Census& census = CensusOf(extent.file);
    if (extent.end() > census.synced_bytes() && census.is_there_or_missing()) {
      unsynced_.push_back({.payload = payload, .number = number, .extent = extent});
    } else if (!census.is_there() || extent.end() > census.size_bytes) {
      ++census.lost_segments;
    }
    const uint32_t begin = extent.place();
    const auto length = static_cast<uint32_t>(extent.room_bytes() / kSegmentAlignment);
    census.named.push_back({.begin = begin, .end = begin + length});
    census.named_bytes += extent.room_bytes();
    census.named_end = std::max(census.named_end, extent.end());
  }

  // ---- What is lost

  absl::Status RefuseLostFiles() {
    size_t lost_files = 0;
    for (const auto& [id, census] : census_) lost_files += census.lost_segments > 0 ? 1 : 0;
    for (auto& [id, census] : census_) {
      const bool was_given_up = census.row && census.row->is_given_up;
      if (census.lost_segments == 0) {
        // It was put back: another loss of it is to be noticed.
        if (was_given_up) census.row->is_given_up = false;
        continue;
      }
      const std::string text =
          absl::StrCat("the segment file segments/", SegmentFileName(id), " ",
                       census.is_there() ? absl::StrCat("has ", census.size_bytes, " bytes, but ",
                                                        census.named_end, " were written")
                                         : census.fault,
                       ", which holds ", census.lost_segments,
                       " segments (of 1 MiB at most) of payloads larger than 64 KiB");
      if (was_given_up) {
        storage_.health_.Log(StorageLogLevel::kWarning,
                             absl::StrCat(text,
                                          "; its loss was accepted before: calls with a payload in "
                                          "it answer DATA_LOSS until they end"));
        continue;
      }
      const std::string others =
          lost_files == 1 ? "" : absl::StrCat(" (lost segment files in all: ", lost_files, ")");
      RETURN_IF_ERROR(
          storage_.RefuseLoss(absl::DataLossError(absl::StrCat("data loss: ", text, others))));
      if (!census.row) census.row.emplace();
      census.row->is_given_up = true;
    }
    return absl::OkStatus();
  }

  // ---- What was not synced

  absl::Status CheckUnsynced() {
    std::sort(unsynced_.begin(), unsynced_.end(), [](const auto& a, const auto& b) {
      return std::pair(a.extent.file, a.extent.offset) < std::pair(b.extent.file, b.extent.offset);
    });
    std::unique_ptr<File> file;
    std::optional<SegmentFileId> open;
    std::vector<uint8_t> bytes;
    for (const UnsyncedSegment& segment : unsynced_) {
      const SegmentExtent& extent = segment.extent;
      const Census& census = CensusOf(extent.file);
      bool is_good = census.is_there() && extent.end() <= census.size_bytes;
      if (is_good && open != extent.file) {
        auto opened = files_->Open(PathOf(extent.file), /*create=*/false);
        RETURN_IF_ERROR(opened.status());
        file = *std::move(opened);
        open = extent.file;
      }
      if (is_good) {
        bytes.resize(extent.size_bytes);
        const absl::Status read =
            file->ReadAt(extent.offset, MutableByteSpan(bytes.data(), bytes.size()));
        // A disk that does not read is another matter than one that was not written.
        if (absl::IsUnavailable(read)) return read;
        is_good = read.ok() && Crc32c(ByteSpan(bytes)) == extent.crc32c;
      }
      if (!is_good) damaged_.push_back(segment);
    }
    return absl::OkStatus();
  }

  absl::Status GiveUpUnsynced() {
    absl::flat_hash_set<uint64_t> uploads;
    RETURN_IF_ERROR(storage_.ForEachUpload(
        [&](const StoredUpload& upload) { uploads.insert(upload.payload.slot.generation); }));
    absl::flat_hash_set<uint64_t> payloads;
    RowChanges changes;
    for (const UnsyncedSegment& segment : damaged_) {
      const SlotRef slot = segment.payload.slot;
      const bool is_payload =
          !uploads.contains(slot.generation) && storage_.slots_->StateOf(slot) == SlotState::kLive;
      if (!is_payload) {
        RETURN_IF_ERROR(storage_.RemoveSegmentsFrom(segment.payload, segment.number, &changes));
        continue;
      }
      payloads.insert(slot.generation);
      const SegmentRowKey key = EncodeSegmentKey(segment.payload.key, slot, segment.number);
      changes.batch.Put(storage_.database_->family(Family::kSegments), AsSlice(key),
                        rocksdb::Slice());
    }
    if (!payloads.empty()) {
      storage_.health_.Log(
          StorageLogLevel::kWarning,
          absl::StrCat("the machine stopped before ", payloads.size(),
                       " large payloads were on the disk: they count as never stored"));
    }
    // Their room is given back with all that no row names.
    return storage_.Write(&changes.batch, "giving up what was not synced");
  }

  // ---- What no row names

  std::string PathOf(const SegmentFileId& id) const {
    return absl::StrCat(directory_, "/", SegmentFileName(id));
  }

  absl::Status Tidy(const SegmentFileId& id, Census* census) {
    // Rows that could not be read may name anything.
    if (census->named.empty() && is_whole_) return RemoveFile(id, *census);
    if (!census->row) census->row.emplace();
    if (census->is_there()) RETURN_IF_ERROR(TidyContent(id, census));
    if (census->row != census->stored_row) {
      rows_.Put(storage_.database_->family(Family::kSegmentFiles), EncodeSegmentFileKey(id),
                EncodeSegmentFile(*census->row));
    }
    SegmentFiles::Adopted file = {.id = id, .may_have_others = !is_whole_};
    for (const Census::Piece& piece : census->named) file.live.push_back(piece.begin);
    storage_.segment_files_->Adopt(file);
    return absl::OkStatus();
  }

  absl::Status RemoveFile(const SegmentFileId& id, const Census& census) {
    if (census.is_there()) {
      const absl::Status removed = files_->Remove(PathOf(id));
      if (!removed.ok() && !absl::IsNotFound(removed)) return removed;
    }
    if (census.stored_row) {
      rows_.Delete(storage_.database_->family(Family::kSegmentFiles), EncodeSegmentFileKey(id));
    }
    return absl::OkStatus();
  }

  absl::Status TidyContent(const SegmentFileId& id, Census* census) {
    auto opened = files_->Open(PathOf(id), /*create=*/false);
    RETURN_IF_ERROR(opened.status());
    File* const file = opened->get();
    if (is_whole_) {
      if (census->size_bytes > census->named_end) {
        RETURN_IF_ERROR(file->Truncate(census->named_end));
      }
      RETURN_IF_ERROR(PunchGaps(file, census));
    }
    if (census->named_end <= census->synced_bytes()) return absl::OkStatus();
    // A killed process has left it in the page cache, which proves nothing.
    RETURN_IF_ERROR(file->Sync());
    census->row->synced_bytes = census->named_end;
    return absl::OkStatus();
  }

  absl::Status PunchGaps(File* file, Census* census) {
    const auto allocated = file->AllocatedBytes();
    RETURN_IF_ERROR(allocated.status());
    std::vector<Census::Piece>& named = census->named;
    const uint64_t slack = kSegmentAlignment * (kSlackBlocks + named.size() / kPiecesPerBlock);
    if (*allocated <= census->named_bytes + slack) return absl::OkStatus();
    std::sort(named.begin(), named.end(),
              [](const auto& a, const auto& b) { return a.begin < b.begin; });
    uint32_t end = 0;
    for (const Census::Piece& piece : named) {
      if (piece.begin > end) {
        const absl::Status punched = file->PunchHole(
            uint64_t{end} * kSegmentAlignment, uint64_t{piece.begin - end} * kSegmentAlignment);
        if (absl::IsUnimplemented(punched)) return absl::OkStatus();
        if (!punched.ok() && !IsOutOfSpace(punched)) return punched;
      }
      end = std::max(end, piece.end);
    }
    return absl::OkStatus();
  }

  LocalStorage& storage_;
  const std::string directory_;
  FileSystem* const files_;
  int64_t first_hour_ = 0;
  std::map<SegmentFileId, Census> census_;
  std::vector<UnsyncedSegment> unsynced_;
  std::vector<UnsyncedSegment> damaged_;
  bool is_whole_ = true;  // false: rows could not be read
  rocksdb::WriteBatch rows_;
};

absl::Status LocalStorage::OpenSegmentFiles() {
  segment_files_ = std::make_unique<SegmentFiles>(
      SegmentFiles::Options{.directory = directory_->segments_path(),
                            .file_system = options_.file_system,
                            .boot = static_cast<uint32_t>(boot_number()),
                            .health = &health_});
  return SegmentStart(this).Run();
}

absl::Status LocalStorage::RecordSegmentFiles() {
  if (segment_files_->is_dirty()) RETURN_IF_ERROR(segment_files_->Sync());
  const SegmentFiles::News news = segment_files_->TakeNews();
  rocksdb::ColumnFamilyHandle* const family = database_->family(Family::kSegmentFiles);
  rocksdb::WriteBatch batch;
  for (const auto& [id, synced_bytes] : news.synced_bytes) {
    batch.Put(family, EncodeSegmentFileKey(id), EncodeSegmentFile({.synced_bytes = synced_bytes}));
  }
  for (const SegmentFileId& id : news.removed) batch.Delete(family, EncodeSegmentFileKey(id));
  return batch.Count() > 0 ? Write(&batch, "recording segment files") : absl::OkStatus();
}

}  // namespace mayfly
