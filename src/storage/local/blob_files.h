// The blob files of an open database, which hold the segments of large payloads.
//
// RocksDB opens its table files at the start, and a blob file only when a value in it is read. So a
// start looks whether all that the manifest names are there.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/local/database.h"

namespace mayfly {

struct LostBlobFile {
  uint64_t number = 0;
  std::string fault;           // "the blob file db/000012.blob is missing"
  uint64_t segment_count = 0;  // in it at most: removed ones count until a compaction
};

// Those that are missing, shorter than they were, or cannot be opened, by number. UNAVAILABLE when
// this process lacks descriptors or memory to tell.
absl::StatusOr<std::vector<LostBlobFile>> FindLostBlobFiles(const Database& database);

// The numbers of blob files whose loss was accepted, ascending: a row of the default family. RocksDB
// needs such a file as long as a payload in it lasts, and numbers are never given again.
absl::StatusOr<std::vector<uint64_t>> LoadAcceptedBlobFiles(const Database& database);
// Synced when it returns.
absl::Status SaveAcceptedBlobFiles(const Database& database, const std::vector<uint64_t>& numbers);

}  // namespace mayfly
