// A LocalStorage in its own directory, with short functions for the store's operations on it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"

#include "storage/local/local_storage.h"
#include "storage/storage_operations.h"

namespace mayfly {

// A directory that is empty at first and gone with this object; in memory where that can be.
class TestDirectory {
 public:
  TestDirectory();
  ~TestDirectory();
  TestDirectory(const TestDirectory&) = delete;
  TestDirectory& operator=(const TestDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class StorageHarness : public StorageOperations {
 public:
  // Options with small memtables and everything in `directory`.
  static LocalStorageOptions OptionsIn(const TestDirectory& directory);

  // Does not open: change `options` first if need be.
  explicit StorageHarness(uint64_t seed = 1);

  // Closes what is open. The root key is given anew to each opening.
  absl::Status Open();
  void Close() { storage_.reset(); }
  LocalStorage* operator->() { return storage_.get(); }
  LocalStorage& operator*() { return *storage_; }

  TestDirectory directory;
  LocalStorageOptions options;
  std::string root_key = std::string(32, 'r');

 private:
  Storage* storage() override { return storage_.get(); }

  std::unique_ptr<LocalStorage> storage_;
};

}  // namespace mayfly
