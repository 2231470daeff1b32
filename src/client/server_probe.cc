#include "client/server_probe.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <sys/socket.h>

#include "base/error.h"
#include "client/time_budget.h"
#include "client/tls_handles.h"

namespace mayfly::client {
namespace {

constexpr absl::Duration kProbeTime = absl::Seconds(3);
// A server that stops hangs up as well as one that refuses; but then it cannot be reached.
constexpr absl::Duration kSecondLook = absl::Milliseconds(100);
// HTTP/2, as gRPC offers it. Servers refuse connections without it.
constexpr unsigned char kAlpn[] = {2, 'h', '2'};

class Socket {
 public:
  explicit Socket(int number) : number_(number) {}
  Socket(Socket&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Socket& operator=(Socket&&) = delete;
  ~Socket() {
    if (number_ >= 0) close(number_);
  }
  int number() const { return number_; }

 private:
  int number_;
};

absl::Status NotReached(const ServerAddress& address, absl::string_view why) {
  return absl::UnavailableError(absl::StrCat("cannot reach ", address.ToString(), ": ", why));
}

// False when the time is over.
bool WaitFor(const Socket& socket, short events, const TimeBudget& budget) {
  pollfd entry = {.fd = socket.number(), .events = events, .revents = 0};
  while (true) {
    const int count = poll(&entry, 1, static_cast<int>(absl::ToInt64Milliseconds(budget.Left())));
    if (count > 0) return true;
    if (count == 0 || errno != EINTR) return false;
  }
}

// Null on success, otherwise what went wrong.
const char* ConnectTo(const addrinfo& info, const Socket& socket, const TimeBudget& budget) {
  if (socket.number() < 0) return strerrordesc_np(errno);
  if (connect(socket.number(), info.ai_addr, info.ai_addrlen) == 0) return nullptr;
  if (errno != EINPROGRESS) return strerrordesc_np(errno);
  if (!WaitFor(socket, POLLOUT, budget)) return "no answer to the connection request";
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(socket.number(), SOL_SOCKET, SO_ERROR, &error, &size);
  return error == 0 ? nullptr : strerrordesc_np(error);
}

absl::StatusOr<Socket> OpenConnection(const ServerAddress& address, const TimeBudget& budget) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* infos = nullptr;
  const int error =
      getaddrinfo(address.host.c_str(), absl::StrCat(address.port).c_str(), &hints, &infos);
  if (error != 0) {
    return NotReached(address,
                      error == EAI_SYSTEM
                          ? absl::StrCat("the name was not found: ", strerrordesc_np(errno))
                          : absl::StrCat("the name was not found: ", gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, TlsDeleter<freeaddrinfo>> owner(infos);
  const char* why = "the name has no address";
  for (const addrinfo* info = infos; info != nullptr; info = info->ai_next) {
    Socket socket(::socket(info->ai_family, info->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    why = ConnectTo(*info, socket, budget);
    if (why == nullptr) return socket;
  }
  return NotReached(address, why);
}

bool AddCas(const std::string& text, SSL_CTX* context) {
  const PemReader reader = ReaderOf(text);
  int count = 0;
  while (const auto ca =
             Certificate(PEM_read_bio_X509_AUX(reader.get(), nullptr, nullptr, nullptr))) {
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context), ca.get());
    ++count;
  }
  ERR_clear_error();
  return count > 0;
}

bool AddOwn(const TlsTexts& texts, SSL_CTX* context) {
  const PemReader reader = ReaderOf(texts.certificate);
  const auto own = Certificate(PEM_read_bio_X509_AUX(reader.get(), nullptr, nullptr, nullptr));
  if (own == nullptr || SSL_CTX_use_certificate(context, own.get()) != 1) return false;
  while (const auto ca = Certificate(PEM_read_bio_X509(reader.get(), nullptr, nullptr, nullptr))) {
    SSL_CTX_add1_chain_cert(context, ca.get());
  }
  ERR_clear_error();
  const PemReader key_reader = ReaderOf(texts.key);
  const PrivateKey key(PEM_read_bio_PrivateKey(key_reader.get(), nullptr, nullptr, nullptr));
  return key != nullptr && SSL_CTX_use_PrivateKey(context, key.get()) == 1;
}

// The first fault of the server's certificate. OpenSSL forgets it together with the certificate.
struct Distrust {
  Certificate certificate;
  long error = X509_V_OK;
};

int NoteDistrust(int is_trusted, X509_STORE_CTX* store) {
  if (is_trusted == 1) return 1;
  const void* const ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
  auto* const distrust = static_cast<Distrust*>(SSL_get_app_data(static_cast<const SSL*>(ssl)));
  X509* const certificate = X509_STORE_CTX_get0_cert(store);
  if (certificate != nullptr) X509_up_ref(certificate);
  distrust->certificate.reset(certificate);
  distrust->error = X509_STORE_CTX_get_error(store);
  return 0;
}

TlsContext NewContext(const TlsTexts& texts) {
  TlsContext context(SSL_CTX_new(TLS_client_method()));
  if (context == nullptr || !AddCas(texts.ca, context.get()) || !AddOwn(texts, context.get())) {
    return nullptr;
  }
  SSL_CTX_set_alpn_protos(context.get(), kAlpn, sizeof kAlpn);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, NoteDistrust);
  return context;
}

// The name that the server's certificate must have.
std::string ExpectedName(const ServerAddress& address, const ClientOptions& options) {
  return options.server_name.empty() ? address.host : options.server_name;
}

void ExpectName(const std::string& name, SSL* connection) {
  X509_VERIFY_PARAM* const expected = SSL_get0_param(connection);
  if (X509_VERIFY_PARAM_set1_ip_asc(expected, name.c_str()) == 1) return;
  ERR_clear_error();
  X509_VERIFY_PARAM_set1_host(expected, name.c_str(), name.size());
  SSL_set_tlsext_host_name(connection, name.c_str());
}

// "DNS:localhost, IP:127.0.0.1"
std::string NamesOf(const X509* certificate) {
  const SubjectNames names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  std::string text;
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const PemReader writer(BIO_new(BIO_s_mem()));
    GENERAL_NAME_print(writer.get(), sk_GENERAL_NAME_value(names.get(), i));
    char* name = nullptr;
    const long size = BIO_get_mem_data(writer.get(), &name);
    absl::StrAppend(&text, text.empty() ? "" : ", ",
                    absl::string_view(name, static_cast<size_t>(size)));
  }
  return text.empty() ? "no name" : text;
}

// Tells the fault of the server's certificate, and what to do.
std::string Verdict(long error, const X509* certificate, const std::string& name,
                    const ClientOptions& options) {
  switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return absl::StrCat("expired at ", DateText(ValidUntil(certificate)), ", and now is ",
                          DateText(absl::Now()), "; the server needs a new one");
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return absl::StrCat("is not valid before ", DateText(ValidFrom(certificate)), ", and now is ",
                          DateText(absl::Now()), "; check the clocks");
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return absl::StrCat("is for ", NamesOf(certificate), " and not for ", name,
                          "; use one of its names as the target or as server_name");
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return absl::StrCat("was issued by a CA (", IssuerOf(certificate),
                          ") that is not in ca_file ", options.ca_file,
                          "; use the CA of the server");
    default:
      return absl::StrCat("cannot be verified with ca_file ", options.ca_file, ": ",
                          X509_verify_cert_error_string(error));
  }
}

absl::Status ServerRefused(const ServerAddress& address, const ClientOptions& options,
                           const Distrust& distrust) {
  const X509* const certificate = distrust.certificate.get();
  return MakeError(
      absl::StatusCode::kUnauthenticated, Reason::kIdentityInvalid,
      absl::StrCat("the certificate of the server ", address.ToString(), " (",
                   SubjectOf(certificate), ") ",
                   Verdict(distrust.error, certificate, ExpectedName(address, options), options)));
}

absl::Status ClientRefused(const ServerAddress& address, const ClientOptions& options, SSL* ssl,
                           absl::string_view alert) {
  const X509* const own = SSL_get_certificate(ssl);
  return MakeError(
      absl::StatusCode::kUnauthenticated, Reason::kIdentityInvalid,
      absl::StrCat("the server ", address.ToString(), " refuses certificate_file ",
                   options.certificate_file, " (", SubjectOf(own), ", issued by ", IssuerOf(own),
                   ", valid until ", DateText(ValidUntil(own)), ")", alert.empty() ? "" : ": ",
                   alert, "; use one of a CA that the server trusts (tls.ca_file)"));
}

enum class Step { kDone, kRetry, kClosed, kFailed };

// After a call of OpenSSL that has returned `result`: waits for the socket if that is all.
Step After(int result, SSL* ssl, const Socket& socket, const TimeBudget& budget) {
  if (result > 0) return Step::kDone;
  switch (SSL_get_error(ssl, result)) {
    case SSL_ERROR_WANT_READ:
      return WaitFor(socket, POLLIN, budget) ? Step::kRetry : Step::kFailed;
    case SSL_ERROR_WANT_WRITE:
      return WaitFor(socket, POLLOUT, budget) ? Step::kRetry : Step::kFailed;
    case SSL_ERROR_SSL:
      return ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING
                 ? Step::kClosed
                 : Step::kFailed;
    default:
      return Step::kClosed;
  }
}

struct Look {
  absl::Status status;
  bool may_be_its_end = false;  // the server may just as well have stopped
};

// The first bytes of HTTP/2 come as soon as the server has accepted our certificate.
Look AwaitAcceptance(const ServerAddress& address, const ClientOptions& options, SSL* ssl,
                     const Socket& socket, const TimeBudget& budget) {
  char byte = 0;
  while (true) {
    switch (After(SSL_read(ssl, &byte, 1), ssl, socket, budget)) {
      case Step::kDone:
        return {};
      case Step::kRetry:
        continue;
      case Step::kClosed:
        return {.status = ClientRefused(address, options, ssl, ""), .may_be_its_end = true};
      case Step::kFailed:
        break;
    }
    const char* const alert = ERR_reason_error_string(ERR_peek_last_error());
    // Without an error of OpenSSL's the time is over: the server keeps the connection.
    return alert == nullptr ? Look{} : Look{.status = ClientRefused(address, options, ssl, alert)};
  }
}

Look LookOnce(const ServerAddress& address, const TlsTexts& texts, const ClientOptions& options) {
  ERR_clear_error();
  const TimeBudget budget(kProbeTime);
  const absl::StatusOr<Socket> socket = OpenConnection(address, budget);
  if (!socket.ok()) return {.status = socket.status()};
  const TlsContext context = NewContext(texts);
  if (context == nullptr) return {};
  Distrust distrust;
  const TlsConnection ssl(SSL_new(context.get()));
  SSL_set_app_data(ssl.get(), &distrust);
  SSL_set_fd(ssl.get(), socket->number());
  ExpectName(ExpectedName(address, options), ssl.get());
  while (true) {
    switch (After(SSL_connect(ssl.get()), ssl.get(), *socket, budget)) {
      case Step::kDone:
        return AwaitAcceptance(address, options, ssl.get(), *socket, budget);
      case Step::kRetry:
        continue;
      case Step::kClosed:
        return {.status = NotReached(address, "it closes connections during the TLS handshake")};
      case Step::kFailed:
        break;
    }
    if (distrust.certificate != nullptr) {
      return {.status = ServerRefused(address, options, distrust)};
    }
    const char* const why = ERR_reason_error_string(ERR_peek_last_error());
    return {.status = NotReached(address, why == nullptr
                                              ? std::string("no answer to the TLS handshake")
                                              : absl::StrCat("the TLS handshake failed: ", why))};
  }
}

}  // namespace

absl::Status ProbeServer(const ServerAddress& address, const TlsTexts& texts,
                         const ClientOptions& options) {
  Look look = LookOnce(address, texts, options);
  if (look.may_be_its_end) {
    absl::SleepFor(kSecondLook);
    look = LookOnce(address, texts, options);
  }
  ERR_clear_error();
  return look.status;
}

}  // namespace mayfly::client
