#include "storage/storage_harness.h"

#include <filesystem>
#include <stdlib.h>
#include <utility>

#include "gtest/gtest.h"

#include "base/check.h"
#include "base/error.h"

namespace mayfly {

TestDirectory::TestDirectory() {
  std::error_code error;
  const bool has_memory = std::filesystem::is_directory("/dev/shm", error);
  path_ = (has_memory ? std::string("/dev/shm/") : testing::TempDir()) + "mayfly-XXXXXX";
  Check(mkdtemp(path_.data()) != nullptr, "a temporary directory can be made");
}

TestDirectory::~TestDirectory() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

LocalStorageOptions StorageHarness::OptionsIn(const TestDirectory& directory) {
  LocalStorageOptions options;
  options.data_dir = directory.path() + "/data";
  options.now_ms = kTestNowMs;
  options.memtable_bytes = 8 << 20;
  options.index_calls_max = 1000;
  options.disk_reserve_bytes = 0;
  options.allow_unsafe_filesystem = true;  // it may be in memory
  return options;
}

StorageHarness::StorageHarness(uint64_t seed)
    : StorageOperations(seed), options(OptionsIn(directory)) {}

absl::Status StorageHarness::Open() {
  Close();
  LocalStorageOptions opened;
  opened.data_dir = options.data_dir;
  opened.root_key = SecretBytes(AsBytes(root_key));
  opened.now_ms = options.now_ms;
  opened.memtable_bytes = options.memtable_bytes;
  opened.index_calls_max = options.index_calls_max;
  opened.disk_reserve_bytes = options.disk_reserve_bytes;
  opened.tombstone_ttl_ms_max = options.tombstone_ttl_ms_max;
  opened.allow_unsafe_filesystem = options.allow_unsafe_filesystem;
  opened.accept_data_loss = options.accept_data_loss;
  opened.file_system = options.file_system;
  opened.rocksdb_file_system = options.rocksdb_file_system;
  opened.rocksdb_clock = options.rocksdb_clock;
  opened.disk_bytes = options.disk_bytes;
  opened.log = options.log;
  auto storage = LocalStorage::Open(std::move(opened));
  RETURN_IF_ERROR(storage.status());
  storage_ = *std::move(storage);
  return absl::OkStatus();
}

}  // namespace mayfly
