// LockedMemory is memory for secrets: whole pages that are locked, so that they do not reach swap, and
// excluded from core dumps. Zeros at first, wiped when it is destroyed.
#pragma once

#include <cstddef>
#include <utility>

#include "base/bytes.h"

namespace mayfly {

class LockedMemory {
 public:
  LockedMemory() = default;
  // At least 1 byte; takes whole pages.
  explicit LockedMemory(size_t size);
  ~LockedMemory();

  LockedMemory(LockedMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  LockedMemory& operator=(LockedMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  LockedMemory(const LockedMemory&) = delete;
  LockedMemory& operator=(const LockedMemory&) = delete;

  bool empty() const { return size_ == 0; }
  ByteSpan ExposeBytes() const { return ByteSpan(data_, size_); }
  MutableByteSpan ExposeMutableBytes() { return MutableByteSpan(data_, size_); }

  // Whether all of it so far could be locked (RLIMIT_MEMLOCK may forbid it).
  static bool AllIsLocked();

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace mayfly
