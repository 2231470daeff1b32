#include "crypto/aes_gcm.h"

#include <cstring>

#include <openssl/core_names.h>
#include <openssl/params.h>

#include "base/check.h"

namespace mayfly {
namespace {

constexpr size_t kUpdateBytesMax = size_t{1} << 30;  // EVP counts in int

// Never destroyed: threads may still seal while static objects are destroyed.
const EVP_CIPHER* TheCipher() {
  static const EVP_CIPHER* const cipher =
      Cipher(EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr)).release();
  return cipher;
}

// These calls can only fail because of a bug in this program.
void CheckOpenssl(int result) { Check(result == 1, "OpenSSL does AES-256-GCM"); }

// Sets the parameter directly: EVP_CIPHER_CTX_ctrl takes twice as long, and a small chunk consists
// mostly of such calls.
OSSL_PARAM TagParameter(uint8_t tag[kGcmTagSize]) {
  return OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, tag, kGcmTagSize);
}

}  // namespace

Aes256Gcm& Aes256Gcm::OfThisThread() {
  thread_local Aes256Gcm cipher;
  return cipher;
}

Aes256Gcm::Aes256Gcm() : context_(EVP_CIPHER_CTX_new()) {
  Check(context_ != nullptr && TheCipher() != nullptr, "OpenSSL has AES-256-GCM");
  CheckOpenssl(EVP_EncryptInit_ex2(context_.get(), TheCipher(), nullptr, nullptr, nullptr));
}

void Aes256Gcm::SetKey(const uint8_t key[kAesKeySize]) {
  CheckOpenssl(EVP_EncryptInit_ex2(context_.get(), nullptr, key, nullptr, nullptr));
}

void Aes256Gcm::StartSeal(const uint8_t nonce[kGcmNonceSize]) {
  CheckOpenssl(EVP_EncryptInit_ex2(context_.get(), nullptr, nullptr, nonce, nullptr));
}

void Aes256Gcm::StartOpen(const uint8_t nonce[kGcmNonceSize]) {
  CheckOpenssl(EVP_DecryptInit_ex2(context_.get(), nullptr, nullptr, nonce, nullptr));
}

void Aes256Gcm::Update(ByteSpan in, uint8_t* out) {
  Check(in.size() <= kUpdateBytesMax, "an update has at most 2^30 bytes");
  int written = 0;
  CheckOpenssl(
      EVP_CipherUpdate(context_.get(), out, &written, in.data(), static_cast<int>(in.size())));
  Check(static_cast<size_t>(written) == in.size(), "GCM keeps nothing back");
}

void Aes256Gcm::FinishSeal(uint8_t tag[kGcmTagSize]) {
  int written = 0;
  CheckOpenssl(EVP_EncryptFinal_ex(context_.get(), tag, &written));
  OSSL_PARAM tag_parameter[] = {TagParameter(tag), OSSL_PARAM_construct_end()};
  CheckOpenssl(EVP_CIPHER_CTX_get_params(context_.get(), tag_parameter));
}

bool Aes256Gcm::FinishOpen(const uint8_t tag[kGcmTagSize]) {
  uint8_t expected[kGcmTagSize];
  memcpy(expected, tag, sizeof expected);
  const OSSL_PARAM tag_parameter[] = {TagParameter(expected), OSSL_PARAM_construct_end()};
  CheckOpenssl(EVP_CIPHER_CTX_set_params(context_.get(), tag_parameter));
  int written = 0;
  return EVP_DecryptFinal_ex(context_.get(), expected, &written) == 1;
}

}  // namespace mayfly
