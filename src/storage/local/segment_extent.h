// Where a segment lies.
#pragma once

#include <compare>
#include <cstdint>

namespace mayfly {

// Segments begin at a multiple of it, so that each gives back all blocks of the file system that it
// takes.
inline constexpr uint64_t kSegmentAlignment = 4096;

// No id is given twice, whatever becomes of the file.
struct SegmentFileId {
  uint32_t due_hour = 0;  // of all that is in it, counted as hour keys are (keys/keyring.h)
  uint32_t boot = 0;      // of the process that made it
  uint32_t number = 0;    // among the files of that process

  friend auto operator<=>(const SegmentFileId&, const SegmentFileId&) = default;
};

struct SegmentExtent {
  SegmentFileId file;
  uint64_t offset = 0;
  uint32_t size_bytes = 0;
  uint32_t crc32c = 0;  // of the ciphertext

  uint64_t end() const { return offset + size_bytes; }
  // In its file, whose size is bounded (SegmentFiles::kFileBytesMax).
  uint32_t place() const { return static_cast<uint32_t>(offset / kSegmentAlignment); }
  // Its share of the file, up to the next one.
  uint64_t room_bytes() const {
    return (size_bytes + kSegmentAlignment - 1) / kSegmentAlignment * kSegmentAlignment;
  }
  friend bool operator==(const SegmentExtent&, const SegmentExtent&) = default;
};

}  // namespace mayfly
