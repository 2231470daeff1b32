#include "support/payload_stream.h"

#include <string.h>

#include "absl/strings/str_cat.h"

#include "base/bytes.h"

namespace mayfly {
namespace {

constexpr uint64_t kWordBytes = sizeof(uint64_t);
constexpr size_t kHashedBytes = 1 << 20;

// The finalizer of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
uint64_t Word(uint64_t seed, uint64_t index) {
  uint64_t z = seed * 0xd1342543de82ef95 + index * 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace

void FillPattern(uint64_t seed, uint64_t offset, char* buffer, size_t size) {
  size_t done = 0;
  while (done < size) {
    const uint64_t word = Word(seed, (offset + done) / kWordBytes);
    const size_t skipped = (offset + done) % kWordBytes;
    const size_t count = std::min(kWordBytes - skipped, size - done);
    memcpy(buffer + done, reinterpret_cast<const char*>(&word) + skipped, count);
    done += count;
  }
}

std::string Pattern(uint64_t seed, uint64_t size) {
  std::string data(size, '\0');
  FillPattern(seed, 0, data.data(), data.size());
  return data;
}

Sha256Digest PatternDigest(uint64_t seed, uint64_t size) {
  Sha256 hash;
  std::string data(kHashedBytes, '\0');
  for (uint64_t offset = 0; offset < size; offset += kHashedBytes) {
    data.resize(std::min<uint64_t>(kHashedBytes, size - offset));
    FillPattern(seed, offset, data.data(), data.size());
    hash.Update(AsBytes(data));
  }
  return hash.Finish();
}

absl::StatusOr<size_t> PatternSource::ReadAt(uint64_t offset, char* buffer, size_t size) {
  if (on_read) on_read(offset);
  if (offset >= size_) return size_t{0};
  size = std::min<uint64_t>(size, size_ - offset);
  FillPattern(seed_, offset, buffer, size);
  read_bytes_ += size;
  return size;
}

absl::Status HashingSink::WriteAt(uint64_t offset, absl::string_view data) {
  if (finish_count_ > 0) return absl::InternalError("data came after the end");
  if (offset != size_) {
    return absl::InternalError(absl::StrCat("data came at ", offset, ", wanted at ", size_));
  }
  hash_.Update(AsBytes(data));
  size_ += data.size();
  return absl::OkStatus();
}

absl::Status HashingSink::Finish(uint64_t size) {
  ++finish_count_;
  if (size != size_) {
    return absl::InternalError(absl::StrCat("the end came at ", size, ", had ", size_, " bytes"));
  }
  if (finish_count_ == 1) digest_ = hash_.Finish();
  if (on_finish) on_finish();
  return absl::OkStatus();
}

}  // namespace mayfly
