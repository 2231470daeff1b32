// Payloads of any size that are never in memory: a HashingSink must receive what a PatternSource
// generates.
//
//   PatternSource source(/*seed=*/1, size);
//   client.UploadInput({.call_id = id}, &source);
//   HashingSink sink;
//   worker.DownloadInput(id, &sink);
//   EXPECT_EQ(sink.digest(), PatternDigest(1, size));
//
// Not thread-safe.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "crypto/sha256.h"
#include "mayfly/payload_io.h"

namespace mayfly {

// Bytes `offset` to `offset + size` of the payload that `seed` stands for: no MiB of it is like
// another, or like one of another seed.
void FillPattern(uint64_t seed, uint64_t offset, char* buffer, size_t size);
std::string Pattern(uint64_t seed, uint64_t size);
Sha256Digest PatternDigest(uint64_t seed, uint64_t size);

class PatternSource final : public client::PayloadSource {
 public:
  PatternSource(uint64_t seed, uint64_t size) : seed_(seed), size_(size) {}

  // Called before each read.
  std::function<void(uint64_t offset)> on_read;
  // All that was read, what was read twice counted twice.
  uint64_t read_bytes() const { return read_bytes_; }

  std::optional<uint64_t> SizeBytes() const override { return size_; }
  absl::StatusOr<size_t> ReadAt(uint64_t offset, char* buffer, size_t size) override;

 private:
  const uint64_t seed_;
  const uint64_t size_;
  uint64_t read_bytes_ = 0;
};

// Refuses what does not continue what it has, and what comes after its end.
class HashingSink final : public client::PayloadSink {
 public:
  // Called when all has come.
  std::function<void()> on_finish;
  int finish_count() const { return finish_count_; }
  uint64_t size() const { return size_; }
  // Of the whole, once it has come.
  const Sha256Digest& digest() const { return digest_; }

  absl::Status WriteAt(uint64_t offset, absl::string_view data) override;
  absl::Status Finish(uint64_t size) override;

 private:
  Sha256 hash_;
  Sha256Digest digest_{};
  uint64_t size_ = 0;
  int finish_count_ = 0;
};

}  // namespace mayfly
