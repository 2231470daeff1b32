// RAII handles for the objects of OpenSSL that the client uses.
#pragma once

#include <memory>
#include <string>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

namespace mayfly::client {

template <auto kFree>
struct TlsDeleter {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};

using Certificate = std::unique_ptr<X509, TlsDeleter<X509_free>>;
using PrivateKey = std::unique_ptr<EVP_PKEY, TlsDeleter<EVP_PKEY_free>>;
using PemReader = std::unique_ptr<BIO, TlsDeleter<BIO_free>>;
using SubjectNames = std::unique_ptr<GENERAL_NAMES, TlsDeleter<GENERAL_NAMES_free>>;
using TlsContext = std::unique_ptr<SSL_CTX, TlsDeleter<SSL_CTX_free>>;
using TlsConnection = std::unique_ptr<SSL, TlsDeleter<SSL_free>>;

// `text` must outlive it.
inline PemReader ReaderOf(const std::string& text) {
  return PemReader(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

}  // namespace mayfly::client
