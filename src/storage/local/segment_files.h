// SegmentFiles keeps the ciphertext of large payloads in files of their own, DIR/segments, each byte
// written once.
//
// A file is only appended to, and only by the process that made it. All that is in it is due in the
// same hour. A segment that is released gives its blocks back by a hole, where the file system has
// holes; a file that holds nothing any more is removed, and so is one whose hour is over.
//
//   DIR/segments/498751-12-3.segments    due in hour 498751, the third file of boot 12
//
// Where a segment lies is for the caller to keep, in a row that is written after Append has returned
// and synced after Sync: a row that counts has its data. Release comes when the row's removal is on
// the disk, or a loss of power could bring back a row without its data. So nothing is written twice
// at one place, and a segment that cannot be read was damaged, or released meanwhile.
//
// A write that fails for lack of room changes nothing. After any other failed write or sync the
// storage is down (storage_health.h).
//
// Open at once: a file for each hour in which something is due, files that are not synced yet, and
// kOpenFilesMax others. Memory: about 200 bytes a file, and 8 a segment. Thread-safe; no call waits
// for another's disk but Sync, which is one at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "base/file_system.h"
#include "base/mutex.h"
#include "storage/local/segment_extent.h"
#include "storage/local/storage_health.h"
#include "storage/sealed.h"

namespace mayfly {

std::string SegmentFileName(const SegmentFileId& id);
std::optional<SegmentFileId> ParseSegmentFileName(absl::string_view name);

class SegmentFiles {
 public:
  // A file that has reached it is not appended to any more.
  static constexpr uint64_t kFileBytesMax = uint64_t{1} << 30;
  static constexpr size_t kOpenFilesMax = 64;

  struct Options {
    std::string directory;
    FileSystem* file_system = nullptr;
    uint32_t boot = 0;
    StorageHealth* health = nullptr;
    uint64_t file_bytes_max = kFileBytesMax;
  };

  // A file of an earlier process. It is synced.
  struct Adopted {
    SegmentFileId id;
    std::vector<uint32_t> live;    // places of the segments in it
    bool may_have_others = false;  // it stays until its hour is over
  };

  // Changes of the files.
  struct News {
    // The bytes below are on the disk.
    std::vector<std::pair<SegmentFileId, uint64_t>> synced_bytes;
    std::vector<SegmentFileId> removed;
  };

  explicit SegmentFiles(Options options) : options_(std::move(options)) {}
  SegmentFiles(const SegmentFiles&) = delete;
  SegmentFiles& operator=(const SegmentFiles&) = delete;

  // Before anything else.
  void Adopt(const Adopted& file) EXCLUDES_LOCK(mutex_);

  // An error for which IsOutOfSpace or WroteNothing is true has changed nothing; any other is final.
  absl::StatusOr<SegmentExtent> Append(uint32_t due_hour, ByteSpan segment)
      EXCLUDES_LOCK(append_mutex_, mutex_);
  // NOT_FOUND without the file, OUT_OF_RANGE when it is too short, DATA_LOSS when the segment is
  // damaged, UNAVAILABLE when the disk would not read it.
  absl::StatusOr<Sealed> Read(const SegmentExtent& extent) EXCLUDES_LOCK(mutex_);
  // Whether something was appended since the last Sync began.
  bool is_dirty() const { return is_dirty_.load(std::memory_order_acquire); }
  // Returns when all that was appended before the call is on the disk.
  absl::Status Sync() EXCLUDES_LOCK(sync_mutex_, mutex_);
  // Gives the room of segments back that no row names any more. Whoever removes a row releases its
  // segment, and two may remove the same one: the second release changes nothing.
  void Release(std::vector<SegmentExtent> extents) EXCLUDES_LOCK(mutex_);
  // Nothing that is due before this hour can be decrypted any more: removes its files.
  void RemoveHoursBefore(uint32_t due_hour) EXCLUDES_LOCK(mutex_);
  // Since it was last asked.
  News TakeNews() EXCLUDES_LOCK(mutex_);

  size_t file_count() const EXCLUDES_LOCK(mutex_);

 private:
  struct FileState {
    std::shared_ptr<File> file;          // as long as it is appended to or not synced
    uint64_t end = 0;                    // where the next segment goes
    std::set<uint64_t> writing;          // offsets that are being written
    absl::flat_hash_set<uint32_t> live;  // places of segments, those being written too
    uint64_t synced_bytes = 0;
    bool may_have_others = false;
    bool is_current = false;  // appended to
    bool is_dirty = false;

    uint64_t written_bytes() const { return writing.empty() ? end : *writing.begin(); }
    void CloseIfIdle() {
      if (!is_current && !is_dirty && writing.empty()) file.reset();
    }
  };
  // Room for a segment that is being written.
  struct Place {
    SegmentFileId id;
    std::shared_ptr<File> file;
    uint64_t offset = 0;
  };

  std::string PathOf(const SegmentFileId& id) const;
  std::optional<Place> PlaceInCurrent(uint32_t due_hour, uint64_t room_bytes,
                                      std::vector<SegmentFileId>* useless) EXCLUDES_LOCK(mutex_);
  absl::StatusOr<Place> PlaceInNewFile(uint32_t due_hour, uint64_t room_bytes) EXCLUDES_LOCK(mutex_)
      REQUIRES_LOCK(append_mutex_);
  static Place TakePlace(const SegmentFileId& id, FileState* state, uint64_t room_bytes);
  // Whether the file has become useless.
  bool EndWrite(const SegmentExtent& extent, bool is_written) EXCLUDES_LOCK(mutex_);

  absl::StatusOr<std::shared_ptr<File>> OpenToRead(const SegmentFileId& id) EXCLUDES_LOCK(mutex_);
  void Close(const SegmentFileId& id) REQUIRES_LOCK(mutex_);

  // Whether the file has become useless: nobody knows of it then, and the caller removes it.
  bool ForgetReleased(const SegmentFileId& id, absl::Span<const SegmentExtent> released)
      EXCLUDES_LOCK(mutex_);
  bool ForgetIfUseless(const SegmentFileId& id) REQUIRES_LOCK(mutex_);
  void PunchHoles(const SegmentFileId& id, absl::Span<const SegmentExtent> extents)
      EXCLUDES_LOCK(mutex_);
  void Remove(const SegmentFileId& id);

  const Options options_;
  std::atomic<bool> is_dirty_{false};
  std::atomic<bool> punches_holes_{true};

  // Held while a file is chosen or made.
  Mutex append_mutex_;
  uint32_t next_number_ GUARDED_BY(append_mutex_) = 1;
  Mutex sync_mutex_;

  mutable Mutex mutex_;
  std::map<SegmentFileId, FileState> files_ GUARDED_BY(mutex_);
  std::map<uint32_t, SegmentFileId> current_ GUARDED_BY(mutex_);  // by due hour
  std::set<SegmentFileId> dirty_ GUARDED_BY(mutex_);
  bool directory_is_dirty_ GUARDED_BY(mutex_) = false;
  std::set<SegmentFileId> newly_synced_ GUARDED_BY(mutex_);
  std::vector<SegmentFileId> removed_ GUARDED_BY(mutex_);
  // Opened to be read, the last used first.
  std::list<std::pair<SegmentFileId, std::shared_ptr<File>>> open_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
