#include "client/tls_files.h"

#include <errno.h>
#include <fstream>
#include <string.h>
#include <time.h>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include "base/error.h"
#include "client/tls_handles.h"

namespace mayfly::client {
namespace {

constexpr size_t kFileBytesMax = 1 << 20;
// How long a certificate and its key may take to be replaced.
constexpr absl::Duration kPairPatience = absl::Milliseconds(400);
constexpr absl::Duration kPairPause = absl::Milliseconds(20);

struct FileField {
  const char* name;
  std::string ClientOptions::*path;
  std::string TlsTexts::*text;
};

constexpr FileField kCa = {"ca_file", &ClientOptions::ca_file, &TlsTexts::ca};
constexpr FileField kCertificate = {"certificate_file", &ClientOptions::certificate_file,
                                    &TlsTexts::certificate};
constexpr FileField kKey = {"key_file", &ClientOptions::key_file, &TlsTexts::key};
constexpr FileField kFiles[] = {kCa, kCertificate, kKey};

absl::StatusOr<std::string> ReadPem(absl::string_view field, const std::string& path) {
  if (path.empty()) return FieldError(field, "empty", "expected the path of a PEM file");
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string text(kFileBytesMax, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad()) {
    return FieldError(field, path, absl::StrCat("not readable: ", strerrordesc_np(errno)));
  }
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

// gRPC's threads outlive the client, and even main: one that reconnects while the program exits
// would crash if OpenSSL were cleaned up by then. Without effect if OpenSSL is in use already.
void KeepOpenSslUntilTheEnd() { OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, nullptr); }

Certificate FirstCertificate(const std::string& text) {
  const PemReader reader = ReaderOf(text);
  return Certificate(PEM_read_bio_X509(reader.get(), nullptr, nullptr, nullptr));
}

// Programs that use the client may ask for passphrases themselves; OpenSSL must not, on the
// terminal.
int NoPassphrase(char*, int, int, void*) { return -1; }

PrivateKey KeyOf(const std::string& text) {
  const PemReader reader = ReaderOf(text);
  return PrivateKey(PEM_read_bio_PrivateKey(reader.get(), nullptr, NoPassphrase, nullptr));
}

// As strict as gRPC, which uses none of the CAs when one cannot be read.
bool HoldsCas(const std::string& text) {
  ERR_clear_error();
  const PemReader reader = ReaderOf(text);
  int count = 0;
  while (Certificate(PEM_read_bio_X509_AUX(reader.get(), nullptr, nullptr, nullptr)) != nullptr) {
    ++count;
  }
  const unsigned long error = ERR_peek_last_error();
  const bool is_end =
      ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
  return count > 0 && is_end;
}

absl::Status FileError(const FileField& field, const ClientOptions& options,
                       absl::string_view what) {
  return FieldError(field.name, options.*field.path, what);
}

// "certificate_file client.pem (CN=client) `what`".
absl::Status CertificateError(const ClientOptions& options, const X509* certificate,
                              absl::string_view what) {
  return MakeError(absl::StatusCode::kUnauthenticated, Reason::kIdentityInvalid,
                   absl::StrCat("certificate_file ", options.certificate_file, " (",
                                SubjectOf(certificate), ") ", what));
}

bool NamesAnIdentity(const X509* certificate) {
  const SubjectNames names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
    if (sk_GENERAL_NAME_value(names.get(), i)->type == GEN_URI) return true;
  }
  return false;
}

absl::Status CheckCertificate(X509* certificate, const ClientOptions& options, absl::Time now) {
  const bool is_ca = (X509_get_extension_flags(certificate) & EXFLAG_CA) != 0;
  if (is_ca && !NamesAnIdentity(certificate)) {
    return CertificateError(options, certificate,
                            "is the certificate of a CA; expected the one that the CA has issued "
                            "for this client, before those of CAs");
  }
  if (now < ValidFrom(certificate)) {
    return CertificateError(
        options, certificate,
        absl::StrCat("is not valid before ", DateText(ValidFrom(certificate)), ", and now is ",
                     DateText(now), "; set the clock or wait"));
  }
  if (now > ValidUntil(certificate)) {
    return CertificateError(options, certificate,
                            absl::StrCat("expired at ", DateText(ValidUntil(certificate)),
                                         ", and now is ", DateText(now), "; renew it"));
  }
  return absl::OkStatus();
}

bool Match(const TlsTexts& texts) {
  const Certificate certificate = FirstCertificate(texts.certificate);
  const PrivateKey key = KeyOf(texts.key);
  const bool match = certificate != nullptr && key != nullptr &&
                     X509_check_private_key(certificate.get(), key.get()) == 1;
  ERR_clear_error();
  return match;
}

absl::Time TimeOf(const ASN1_TIME* time) {
  tm parts = {};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return absl::UnixEpoch();
  return absl::FromTM(parts, absl::UTCTimeZone());
}

std::string NameText(const X509_NAME* name) {
  const PemReader writer(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(writer.get(), name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
  char* text = nullptr;
  const long size = BIO_get_mem_data(writer.get(), &text);
  return size > 0 ? std::string(text, static_cast<size_t>(size)) : "no name";
}

}  // namespace

absl::StatusOr<TlsTexts> ReadTlsFiles(const ClientOptions& options) {
  TlsTexts texts;
  for (const FileField& field : kFiles) {
    absl::StatusOr<std::string> text = ReadPem(field.name, options.*field.path);
    RETURN_IF_ERROR(text.status());
    texts.*field.text = *std::move(text);
  }
  return texts;
}

absl::Status CheckTls(const TlsTexts& texts, const ClientOptions& options, absl::Time now) {
  KeepOpenSslUntilTheEnd();
  const bool holds_cas = HoldsCas(texts.ca);
  const Certificate certificate = FirstCertificate(texts.certificate);
  const PrivateKey key = KeyOf(texts.key);
  ERR_clear_error();
  if (!holds_cas) {
    return FileError(kCa, options,
                     "expected certificates of CAs in PEM, -----BEGIN CERTIFICATE-----");
  }
  if (certificate == nullptr) {
    return FileError(kCertificate, options,
                     "expected a certificate in PEM, -----BEGIN CERTIFICATE-----");
  }
  if (key == nullptr) {
    return FileError(kKey, options,
                     "expected a private key in PEM without a passphrase, -----BEGIN PRIVATE "
                     "KEY-----");
  }
  RETURN_IF_ERROR(CheckCertificate(certificate.get(), options, now));
  if (!Match(texts)) {
    return CertificateError(
        options, certificate.get(),
        absl::StrCat("has another key than key_file ", options.key_file,
                     "; expected the key with which the certificate was requested"));
  }
  return absl::OkStatus();
}

absl::StatusOr<TlsTexts> LoadTlsFiles(const ClientOptions& options) {
  const absl::Time end = absl::Now() + kPairPatience;
  while (true) {
    absl::StatusOr<TlsTexts> texts = ReadTlsFiles(options);
    RETURN_IF_ERROR(texts.status());
    const absl::Status status = CheckTls(*texts, options, absl::Now());
    if (status.ok()) return texts;
    const bool may_change = absl::IsUnauthenticated(status) && !Match(*texts);
    if (!may_change || absl::Now() >= end) return status;
    absl::SleepFor(kPairPause);
  }
}

std::string TlsFilesVersion(const ClientOptions& options) {
  std::string version;
  for (const FileField& field : kFiles) {
    struct stat about = {};
    if (stat((options.*field.path).c_str(), &about) != 0) about = {};
    absl::StrAppend(&version, about.st_dev, ",", about.st_ino, ",", about.st_size, ",",
                    about.st_mtim.tv_sec, ",", about.st_mtim.tv_nsec, ",", about.st_ctim.tv_sec,
                    ",", about.st_ctim.tv_nsec, ";");
  }
  return version;
}

std::shared_ptr<grpc::ChannelCredentials> CredentialsOf(const TlsTexts& texts) {
  return grpc::SslCredentials({.pem_root_certs = texts.ca,
                               .pem_private_key = texts.key,
                               .pem_cert_chain = texts.certificate});
}

std::string SubjectOf(const X509* certificate) {
  return NameText(X509_get_subject_name(certificate));
}

std::string IssuerOf(const X509* certificate) {
  return NameText(X509_get_issuer_name(certificate));
}

absl::Time ValidFrom(const X509* certificate) { return TimeOf(X509_get0_notBefore(certificate)); }

absl::Time ValidUntil(const X509* certificate) { return TimeOf(X509_get0_notAfter(certificate)); }

std::string DateText(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", time, absl::UTCTimeZone());
}

}  // namespace mayfly::client
