#include "rpc/tls.h"

#include <string>

#include "absl/strings/str_cat.h"
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/conf.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "crypto/openssl.h"

namespace mayfly {
namespace {

using SslContext = std::unique_ptr<SSL_CTX, OpensslDeleter<SSL_CTX_free>>;
using Configuration = std::unique_ptr<CONF, OpensslDeleter<NCONF_free>>;
using MemoryReader = std::unique_ptr<BIO, OpensslDeleter<BIO_free>>;

constexpr char kConfiguration[] =
    "openssl_conf = init\n"
    "[init]\n"
    "ssl_conf = ssl\n"
    "[ssl]\n"
    "system_default = mayfly\n"
    "[mayfly]\n"
    "Protocol = -ALL,TLSv1.3\n"
    "Options = -SessionTicket\n"
    "NumTickets = 0\n";

constexpr uint64_t kOlderVersions = SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1 | SSL_OP_NO_TLSv1_2;

absl::Status Refuse(absl::string_view what) { return absl::FailedPreconditionError(what); }

// With OpenSSL's reason, which says no more than what is wrong with the file.
absl::Status RefuseFile(absl::string_view setting, absl::string_view what) {
  const char* const reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return Refuse(absl::StrCat(setting, " ", what, ": ", reason != nullptr ? reason : "unknown"));
}

// gRPC would start with unusable files and refuse every handshake.
absl::Status CheckFiles(const Config::Tls& tls) {
  const SslContext context(SSL_CTX_new(TLS_server_method()));
  if (context == nullptr) return Refuse("TLS cannot be set up");
  ERR_clear_error();
  if (SSL_CTX_load_verify_file(context.get(), tls.ca_file.c_str()) != 1) {
    return RefuseFile("tls.ca_file", "holds no usable certificates");
  }
  if (SSL_CTX_use_certificate_chain_file(context.get(), tls.certificate_file.c_str()) != 1) {
    return RefuseFile("tls.certificate_file", "holds no usable certificate");
  }
  if (SSL_CTX_use_PrivateKey_file(context.get(), tls.key_file.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context.get()) != 1) {
    return RefuseFile("tls.key_file", "holds no usable key of tls.certificate_file");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ConfigureTls() {
  // OpenSSL's own configuration file must not be read after ours.
  if (OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr) != 1) {
    return Refuse("OpenSSL cannot be initialised");
  }
  const Configuration configuration(NCONF_new(nullptr));
  const MemoryReader reader(BIO_new_mem_buf(kConfiguration, sizeof kConfiguration - 1));
  if (configuration == nullptr || reader == nullptr ||
      NCONF_load_bio(configuration.get(), reader.get(), nullptr) != 1 ||
      CONF_modules_load(configuration.get(), nullptr, 0) != 1) {
    ERR_clear_error();
    return Refuse("OpenSSL does not take the configuration that requires TLS 1.3");
  }
  const SslContext probe(SSL_CTX_new(TLS_server_method()));
  if (probe == nullptr || (SSL_CTX_get_options(probe.get()) & kOlderVersions) != kOlderVersions) {
    return Refuse("OpenSSL would accept versions below TLS 1.3");
  }
  if (SSL_CTX_get_num_tickets(probe.get()) != 0 ||
      (SSL_CTX_get_options(probe.get()) & SSL_OP_NO_TICKET) == 0) {
    return Refuse("OpenSSL would let clients resume TLS sessions");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const Config::Tls& tls) {
  if (absl::Status status = CheckFiles(tls); !status.ok()) return status;
  auto provider = std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
      tls.key_file, tls.certificate_file, tls.ca_file,
      static_cast<unsigned>(absl::ToInt64Seconds(tls.reload_interval)));
  grpc::experimental::TlsServerCredentialsOptions options(std::move(provider));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  return grpc::experimental::TlsServerCredentials(options);
}

}  // namespace mayfly
