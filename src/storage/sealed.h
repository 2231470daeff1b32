// Ciphertext. Storage takes payloads in no other type, so writing plaintext to disk does not
// compile.
#pragma once

#include <string>
#include <utility>

#include "base/bytes.h"

namespace mayfly {

class Sealed {
 public:
  Sealed() = default;

  // The deliberate step: for the cipher that has just made `ciphertext`, and for storage that has
  // just read it back.
  static Sealed FromCiphertext(std::string ciphertext) { return Sealed(std::move(ciphertext)); }

  ByteSpan bytes() const { return AsBytes(ciphertext_); }
  size_t size() const { return ciphertext_.size(); }
  bool empty() const { return ciphertext_.empty(); }

 private:
  explicit Sealed(std::string ciphertext) : ciphertext_(std::move(ciphertext)) {}
  std::string ciphertext_;
};

}  // namespace mayfly
