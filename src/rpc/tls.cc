#include "rpc/tls.h"

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

// The copies are in memory, so reading them often is cheap. tls.reload_interval determines when a
// changed file takes effect.
constexpr unsigned kCopiesReadEveryS = 1;

constexpr uint64_t kOlderVersions = SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1 | SSL_OP_NO_TLSv1_2;

absl::Status Refuse(absl::string_view what) { return absl::FailedPreconditionError(what); }

}  // namespace

absl::Status ConfigureTls() {
  // OpenSSL's own configuration file must not be loaded after this one.
  if (OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr) != 1) {
    return Refuse("OpenSSL cannot be initialised");
  }
  const Configuration configuration(NCONF_new(nullptr));
  const MemoryReader reader(BIO_new_mem_buf(kConfiguration, sizeof kConfiguration - 1));
  if (configuration == nullptr || reader == nullptr ||
      NCONF_load_bio(configuration.get(), reader.get(), nullptr) != 1 ||
      CONF_modules_load(configuration.get(), nullptr, 0) != 1) {
    ERR_clear_error();
    return Refuse("OpenSSL rejects the configuration that requires TLS 1.3");
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

std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(const TlsFiles& files) {
  const Config::Tls& tls = files.copies();
  auto provider = std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
      tls.key_file, tls.certificate_file, tls.ca_file, kCopiesReadEveryS);
  grpc::experimental::TlsServerCredentialsOptions options(std::move(provider));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  return grpc::experimental::TlsServerCredentials(options);
}

}  // namespace mayfly
