#include "rpc/tls_refusals.h"

#include <array>
#include <dlfcn.h>
#include <string>

#include "absl/strings/str_cat.h"
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

namespace mayfly {
namespace {

using SslDoHandshake = int (*)(SSL*);

// Above the numbers that X509_verify_cert uses.
constexpr int kVerifyErrorsEnd = 128;

// OpenSSL keeps pointers to the texts.
struct Texts {
  std::array<std::string, kVerifyErrorsEnd> texts;
  std::array<ERR_STRING_DATA, kVerifyErrorsEnd> strings = {};  // ends with zeros; 0 is no error
};

std::string CauseText(int error) {
  if (error == X509_V_ERR_INVALID_PURPOSE) {
    return "its key usage is not that of a client (extendedKeyUsage needs clientAuth, and keyUsage "
           "digitalSignature, where they are given)";
  }
  return X509_verify_cert_error_string(error);
}

// Its number at OpenSSL, with a text for each error of X509_verify_cert.
int RefusalLibrary() {
  static const int library = [] {
    const int number = ERR_get_next_error_library();
    static auto* const all = new Texts;
    for (int error = 1; error < kVerifyErrorsEnd; ++error) {
      all->texts[error] =
          absl::StrCat("certificate verify failed: the client's certificate: ", CauseText(error));
      all->strings[error - 1] = {ERR_PACK(number, 0, error), all->texts[error].c_str()};
    }
    ERR_load_strings(number, all->strings.data());
    return number;
  }();
  return library;
}

SslDoHandshake OpensslsHandshake() {
  static const auto handshake =
      reinterpret_cast<SslDoHandshake>(dlsym(RTLD_NEXT, "SSL_do_handshake"));
  return handshake;
}

}  // namespace
}  // namespace mayfly

extern "C" __attribute__((visibility("default"))) int SSL_do_handshake(SSL* ssl) {
  const int result = mayfly::OpensslsHandshake()(ssl);
  if (result > 0 || !SSL_is_server(ssl)) return result;
  const long error = SSL_get_verify_result(ssl);
  if (error <= X509_V_OK || error >= mayfly::kVerifyErrorsEnd) return result;
  ERR_clear_error();
  ERR_raise(mayfly::RefusalLibrary(), static_cast<int>(error));
  return result;
}

namespace mayfly {

absl::Status ExplainTlsRefusals() {
  if (OpensslsHandshake() == nullptr ||
      dlsym(RTLD_DEFAULT, "SSL_do_handshake") != reinterpret_cast<void*>(&SSL_do_handshake)) {
    return absl::FailedPreconditionError("rejected certificates cannot be explained in this build");
  }
  RefusalLibrary();
  return absl::OkStatus();
}

}  // namespace mayfly
