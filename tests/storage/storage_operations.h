// Short functions for the store's operations on a storage, whichever engine it is.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/storage.h"

namespace mayfly {

// 2026-11-24: ids, deadlines and the start's clock are all around it.
inline constexpr int64_t kTestNowMs = 1'795'500'000'000;
inline constexpr int64_t kTestDeadlineMs = kTestNowMs + 3'600'000;

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
  int64_t deadline_ms = kTestDeadlineMs;
  uint32_t segment_count = 0;
};

class StorageOperations {
 public:
  explicit StorageOperations(uint64_t seed) : random(seed) {}
  virtual ~StorageOperations() = default;

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

  std::mt19937_64 random;
  // The payload of the last Put: if that failed, it may still be stored.
  std::optional<TestPayload> attempted;

 private:
  // The one that is open.
  virtual Storage* storage() = 0;

  std::string RandomText(size_t size);
};

}  // namespace mayfly
