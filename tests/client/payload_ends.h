// Sources and sinks for tests: what they were asked for, and in which order.
#pragma once

#include <algorithm>
#include <optional>
#include <string.h>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "mayfly/payload_io.h"

namespace mayfly::client {

// Bytes whose every MiB is another one.
inline std::string Pattern(size_t size, size_t salt = 0) {
  std::string data(size, '\0');
  for (size_t i = 0; i < size; ++i) {
    data[i] = static_cast<char>(i * 131 + i / 251 + (i >> 20) * 7 + salt);
  }
  return data;
}

class TestSource : public PayloadSource {
 public:
  explicit TestSource(std::string data) : data_(std::move(data)) {}

  std::optional<uint64_t> SizeBytes() const override { return said_size; }
  absl::StatusOr<size_t> ReadAt(uint64_t offset, char* buffer, size_t size) override {
    offsets.push_back(offset);
    if (!error.ok() && offset >= error_from) return error;
    if (offset >= data_.size()) return size_t{0};
    size = std::min(size, data_.size() - static_cast<size_t>(offset));
    memcpy(buffer, data_.data() + offset, size);
    return size;
  }
  std::string& data() { return data_; }

  std::optional<uint64_t> said_size;
  absl::Status error;
  uint64_t error_from = 0;
  std::vector<uint64_t> offsets;  // that were asked for

 private:
  std::string data_;
};

class TestSink : public PayloadSink {
 public:
  absl::StatusOr<uint64_t> KeptBytes(const PayloadVersion& version) override {
    versions.push_back({version.attempt, version.size_bytes});
    return version.attempt == kept_attempt ? kept.size() : 0;
  }
  absl::StatusOr<size_t> ReadKept(uint64_t offset, char* buffer, size_t size) override {
    size = kept.copy(buffer, size, offset);
    if (data.size() < offset + size) data = kept.substr(0, offset + size);
    return size;
  }
  absl::Status WriteAt(uint64_t offset, absl::string_view piece) override {
    offsets.push_back(offset);
    if (!error.ok() && offset >= error_from) return error;
    data.resize(offset);
    data.append(piece.data(), piece.size());
    return absl::OkStatus();
  }
  absl::Status Finish(uint64_t size) override {
    data.resize(size);
    sizes.push_back(size);
    return finish_error;
  }

  std::string data;
  std::vector<uint64_t> offsets;  // where pieces were written
  std::vector<uint64_t> sizes;    // that Finish was called with
  absl::Status error;
  uint64_t error_from = 0;
  absl::Status finish_error;
  std::string kept;                                     // of an earlier download
  uint32_t kept_attempt = 1;                            // 0: of an input
  std::vector<std::pair<uint32_t, uint64_t>> versions;  // that it was asked for: attempt, size
};

}  // namespace mayfly::client
