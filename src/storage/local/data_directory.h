// The data directory, as one process owns it.
//
//   DIR/lock       held by the process that serves
//   DIR/keys/      the slot file, the keyring, the records of the clock and of the database's files
//   DIR/db/        RocksDB
//   DIR/segments/  the ciphertext of large payloads
//
// With DIR/keys and the root key every live payload can be read, so all of the directories belong to
// their owner alone.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "rocksdb/env.h"

#include "base/file_system.h"

namespace mayfly {

class DataDirectory {
 public:
  // What Open and the check of keys would say of `path`, as far as that can be told without making
  // or locking anything.
  static absl::Status Check(const std::string& path, bool allow_unsafe_filesystem);

  // Of the process that holds the lock of `path`; 0 when there is none, or when nobody tells.
  static int Holder(const std::string& path);
  // Whether the database in `path` was ever made. FAILED_PRECONDITION when it has lost the files that
  // say so.
  static absl::StatusOr<bool> HasData(const std::string& path);

  // Makes what is missing, and takes the lock. FAILED_PRECONDITION when another process holds it,
  // when others than the owner may enter a directory, or when the database has lost files that
  // say that there is data.
  static absl::StatusOr<std::unique_ptr<DataDirectory>> Open(const std::string& path,
                                                             FileSystem* file_system);
  ~DataDirectory();
  DataDirectory(const DataDirectory&) = delete;
  DataDirectory& operator=(const DataDirectory&) = delete;

  const std::string& keys_path() const { return keys_path_; }
  const std::string& database_path() const { return database_path_; }
  const std::string& segments_path() const { return segments_path_; }
  // False until the database was first made: then, and only then, new keys may be made.
  bool has_data() const { return has_data_; }

 private:
  explicit DataDirectory(const std::string& path);

  const std::string keys_path_;
  const std::string database_path_;
  const std::string segments_path_;
  bool has_data_ = false;
  rocksdb::FileLock* lock_ = nullptr;
};

}  // namespace mayfly
