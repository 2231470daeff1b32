// Ciphertext. Storage takes payloads in no other type, so writing plaintext to disk does not
// compile.
//
// Copies share the bytes, which never change. Thread-safe as far as that goes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"

#include "base/bytes.h"

namespace mayfly {

class Sealed {
 public:
  Sealed() = default;

  // The deliberate step. For the cipher: `seal` writes the whole of `size` bytes.
  static Sealed Make(size_t size, absl::FunctionRef<void(MutableByteSpan ciphertext)> seal) {
    Sealed sealed(size);
    seal(MutableByteSpan(sealed.bytes_.get(), size));
    return sealed;
  }
  // For storage, which has just read it back.
  static Sealed CopyOf(ByteSpan ciphertext) {
    return Make(ciphertext.size(), [&](MutableByteSpan copy) {
      std::copy(ciphertext.begin(), ciphertext.end(), copy.begin());
    });
  }

  ByteSpan bytes() const { return ByteSpan(bytes_.get(), size_); }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

 private:
  explicit Sealed(size_t size)
      : bytes_(std::make_shared_for_overwrite<uint8_t[]>(size)), size_(size) {}

  std::shared_ptr<uint8_t[]> bytes_;
  size_t size_ = 0;
};

}  // namespace mayfly
