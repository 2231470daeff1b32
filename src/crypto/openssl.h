// RAII handles for OpenSSL objects.
//
// Only crypto/ and rpc/tls include OpenSSL. Algorithms are fetched once per process, because a
// fetch takes locks and allocates, which is too slow for every payload.
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
