// SecretBytes holds key material. It is wiped on destruction and cannot be copied, printed or
// compared.
//
// The bytes are in one arena of locked memory (locked_memory.h), so that keys do not reach swap or a
// crash report. A block has 64 bytes, the maximum size of a key. Access to the bytes is explicit: grep for ExposeBytes(). Thread-compatible; the arena itself is
// thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/bytes.h"

namespace mayfly {

class SecretBytes {
 public:
  static constexpr size_t kSizeMax = 64;

  SecretBytes() = default;
  // `size` zero bytes, at most kSizeMax.
  explicit SecretBytes(size_t size);
  // Copies `bytes`. The caller wipes the source.
  explicit SecretBytes(ByteSpan bytes);
  ~SecretBytes();

  SecretBytes(SecretBytes&& other) noexcept;
  SecretBytes& operator=(SecretBytes&& other) noexcept;
  SecretBytes(const SecretBytes&) = delete;
  SecretBytes& operator=(const SecretBytes&) = delete;
  bool operator==(const SecretBytes&) const = delete;

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  ByteSpan ExposeBytes() const { return ByteSpan(data_, size_); }
  MutableByteSpan ExposeMutableBytes() { return MutableByteSpan(data_, size_); }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

// Overwrites memory in a way that the compiler cannot optimise away: it must assume that the empty
// assembly reads the memory. Inline, because a key derivation wipes a dozen small objects.
inline void WipeMemory(void* data, size_t size) {
  if (size == 0) return;
  memset(data, 0, size);
  asm volatile("" : : "r"(data) : "memory");
}

}  // namespace mayfly
