#include "support/authority.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "base/check.h"

namespace mayfly {
namespace {

std::string TextOf(BIO* writer) {
  char* text = nullptr;
  const long size = BIO_get_mem_data(writer, &text);
  std::string copy(text, static_cast<size_t>(size));
  BIO_free(writer);
  return copy;
}

std::string PemOf(X509* certificate) {
  BIO* writer = BIO_new(BIO_s_mem());
  Check(PEM_write_bio_X509(writer, certificate) == 1, "a certificate can be written");
  return TextOf(writer);
}

std::string PemOf(EVP_PKEY* key) {
  BIO* writer = BIO_new(BIO_s_mem());
  Check(PEM_write_bio_PrivateKey(writer, key, nullptr, nullptr, 0, nullptr, nullptr) == 1,
        "a key can be written");
  return TextOf(writer);
}

void SetTime(absl::Time time, ASN1_TIME* field) {
  Check(ASN1_TIME_set(field, absl::ToTimeT(time)) != nullptr, "a time can be set");
}

void AddExtension(int nid, const std::string& value, X509* certificate) {
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value.c_str());
  Check(extension != nullptr, "an extension can be made");
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

// Without a signature.
X509* NewCertificate(const IssueOptions& options, EVP_PKEY* key, X509_NAME* issuer) {
  X509* certificate = X509_new();
  X509_set_version(certificate, X509_VERSION_3);
  uint64_t serial = 0;
  RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial);
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1);
  SetTime(options.from, X509_getm_notBefore(certificate));
  SetTime(options.until, X509_getm_notAfter(certificate));
  X509_NAME* subject = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(options.name.c_str()), -1, -1,
                             0);
  X509_set_issuer_name(certificate, issuer == nullptr ? subject : issuer);
  X509_set_pubkey(certificate, key);
  return certificate;
}

}  // namespace

struct Authority::Parts {
  EVP_PKEY* key = nullptr;
  X509* certificate = nullptr;

  ~Parts() {
    X509_free(certificate);
    EVP_PKEY_free(key);
  }
};

Authority::Authority(const std::string& name) : parts_(std::make_unique<Parts>()) {
  parts_->key = EVP_EC_gen("P-256");
  parts_->certificate = NewCertificate({.name = name}, parts_->key, nullptr);
  AddExtension(NID_basic_constraints, "critical,CA:TRUE", parts_->certificate);
  Check(X509_sign(parts_->certificate, parts_->key, EVP_sha256()) > 0, "a CA can be signed");
  own_ = {.certificate = PemOf(parts_->certificate), .key = PemOf(parts_->key)};
}

Authority::~Authority() = default;

Issued Authority::Issue(const IssueOptions& options) const {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = NewCertificate(options, key, X509_get_subject_name(parts_->certificate));
  AddExtension(NID_basic_constraints, "critical,CA:FALSE", certificate);
  if (!options.alternative_names.empty()) {
    AddExtension(NID_subject_alt_name, options.alternative_names, certificate);
  }
  Check(X509_sign(certificate, parts_->key, EVP_sha256()) > 0, "a certificate can be signed");
  Issued issued{.certificate = PemOf(certificate), .key = PemOf(key)};
  X509_free(certificate);
  EVP_PKEY_free(key);
  return issued;
}

}  // namespace mayfly
