// The PEM files of a client: its certificate, its key, and the CAs that it trusts.
//
// They are checked before they are used, because a server that refuses a certificate closes the
// connection without a word (RFC 8446 lets the client finish its handshake first). Errors name the
// field of ClientOptions and its file.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include <grpcpp/security/credentials.h>

#include "mayfly/client_options.h"

typedef struct x509_st X509;

namespace mayfly::client {

// The content of the files.
struct TlsTexts {
  std::string ca;
  std::string certificate;  // the chain, the client's own first
  std::string key;

  bool operator==(const TlsTexts&) const = default;
};

// INVALID_ARGUMENT when a file cannot be read.
absl::StatusOr<TlsTexts> ReadTlsFiles(const ClientOptions& options);

// Whether no server can accept the certificate, or be trusted. UNAUTHENTICATED: the certificate has
// expired, is not valid yet, or is a CA's, or the key is another certificate's. INVALID_ARGUMENT: a
// file holds no certificate or no key.
absl::Status CheckTls(const TlsTexts& texts, const ClientOptions& options, absl::Time now);

// Reads and checks. Certificate and key may be about to be replaced one after the other, so a pair
// that does not match is read again for a short time.
absl::StatusOr<TlsTexts> LoadTlsFiles(const ClientOptions& options);

// Changes with each of the files, without reading them: their inodes, sizes and times.
std::string TlsFilesVersion(const ClientOptions& options);

std::shared_ptr<grpc::ChannelCredentials> CredentialsOf(const TlsTexts& texts);

// "CN=client", in the notation of openssl; also of the first certificate in PEM.
std::string SubjectOf(const X509* certificate);
std::string IssuerOf(const X509* certificate);
absl::Time ValidFrom(const X509* certificate);
absl::Time ValidUntil(const X509* certificate);
std::string DateText(absl::Time time);

}  // namespace mayfly::client
