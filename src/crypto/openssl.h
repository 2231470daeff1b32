// Handles for the OpenSSL objects used here, so that none is freed by hand.
//
// Only crypto/ and rpc/tls include OpenSSL. Algorithms are fetched once for the life of the
// process: a fetch takes locks and allocates, and has no place in front of a payload.
#pragma once

#include <memory>

#include <openssl/evp.h>

namespace mayfly {

template <auto kFree>
struct OpensslDeleter {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};

using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, OpensslDeleter<EVP_CIPHER_CTX_free>>;
using Cipher = std::unique_ptr<EVP_CIPHER, OpensslDeleter<EVP_CIPHER_free>>;

}  // namespace mayfly
