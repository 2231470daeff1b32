// The FileRecord keeps what is known of the database's files where a damaged database cannot take it
// along: in the file `database` among the keys.
//
//   offset     size  field
//   0, 32768         two copies, written in turns: the valid one with the higher counter counts
//
//   copy  0    8     magic "MAYFFILE"
//         8    4     format version, 1
//         12   16    store id
//         28   8     record counter
//         36   16    the manifest's number 8 and size in bytes 8
//         52   4     number of logs n, at most 2,000
//         56   2     size m of the database's IDENTITY, at most 256
//         58   16 n  per log, numbers ascending: number 8, size in bytes 8
//              m     IDENTITY
//              4     CRC-32C of the bytes before
//
// All integers are big-endian. The file is made anew at every start, replaced as a whole, and then
// written in place: a write takes no room on a full disk, and a torn one spoils the copy that did
// not count yet. Each is synced before the next, so no crash leaves both copies damaged.
//
// Thread-compatible.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "base/bytes.h"
#include "base/file_system.h"
#include "keys/store_id.h"
#include "storage/local/database_files.h"

namespace mayfly {

class FileRecord {
 public:
  // Of more logs the oldest are recorded. They take 4 MiB each at the least.
  static constexpr size_t kLogsMax = 2000;

  // Reads the record in `keys_directory`. NOT_FOUND without a record, DATA_LOSS when it is damaged,
  // FAILED_PRECONDITION when it is another store's.
  static absl::StatusOr<DatabaseFiles> Read(FileSystem* file_system,
                                            const std::string& keys_directory,
                                            const StoreId& store_id);
  // Takes the place of the record that is there. Durable when it returns, as is each Write.
  static absl::StatusOr<std::unique_ptr<FileRecord>> Create(FileSystem* file_system,
                                                            const std::string& keys_directory,
                                                            const StoreId& store_id,
                                                            const DatabaseFiles& files);
  // After an error the record is not to be written again.
  absl::Status Write(const DatabaseFiles& files);

 private:
  FileRecord(std::unique_ptr<File> file, const StoreId& store_id)
      : file_(std::move(file)), store_id_(store_id) {}

  const std::unique_ptr<File> file_;
  const StoreId store_id_;
  uint64_t counter_ = 1;
};

}  // namespace mayfly
