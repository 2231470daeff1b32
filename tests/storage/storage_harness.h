// A LocalStorage in its own directory, with short functions for the store's operations on it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/local/local_storage.h"

namespace mayfly {

// 2026-11-24: ids, deadlines and the start's clock are all around it.
inline constexpr int64_t kTestNowMs = 1'795'500'000'000;

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

CallKey TestKey(uint32_t number, uint32_t tenant = 1, int64_t time_ms = kTestNowMs);
std::string SecretText(const SecretBytes& secret);

// A payload as it was stored.
struct TestPayload {
  CallKey key;
  PayloadKind kind = PayloadKind::kInput;
  StoredPayload stored;
  std::string secret;
  std::string ciphertext;
  std::vector<std::string> segments;

  PayloadRef ref() const { return {.key = key, .kind = kind, .slot = stored.slot}; }
};

struct PutOptions {
  CallKey key;
  PayloadKind kind = PayloadKind::kInput;
  uint32_t attempt = 0;
  size_t ciphertext_bytes = 100;
  int64_t deadline_ms = kTestNowMs + 3'600'000;
  uint32_t segment_count = 0;
};

class StorageHarness {
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

  LoadedCall Load(const CallKey& key);

  // Reserves, writes segments, commits with what replaces and what is dead taken out. No sync.
  absl::StatusOr<TestPayload> Put(const PutOptions& put);
  // Commits the removal of whatever rows there are, with a tombstone. No sync, no erasure. Gives
  // the slots to erase.
  absl::StatusOr<std::vector<SlotRef>> End(const CallKey& key, EndReason reason);
  // All steps of AckOutputs: End, Sync, Erase, Sync.
  absl::Status Ack(const CallKey& key);

  // The payload can be read: row, segments and secret are those that were stored.
  bool IsReadable(const TestPayload& payload);

  TestDirectory directory;
  LocalStorageOptions options;
  std::string root_key = std::string(32, 'r');
  std::mt19937_64 random;
  // The payload of the last Put: if that failed, it may still be stored.
  std::optional<TestPayload> attempted;

 private:
  std::string RandomText(size_t size);

  std::unique_ptr<LocalStorage> storage_;
};

}  // namespace mayfly
