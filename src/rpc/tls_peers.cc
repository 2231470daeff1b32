#include "rpc/tls_peers.h"

#include <algorithm>
#include <ctime>
#include <fstream>
#include <limits>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "base/error.h"
#include "crypto/openssl.h"
#include "rpc/tls_files.h"

namespace mayfly {
namespace {

using Certificate = std::unique_ptr<X509, OpensslDeleter<X509_free>>;
using Store = std::unique_ptr<X509_STORE, OpensslDeleter<X509_STORE_free>>;
using X509StoreContext = std::unique_ptr<X509_STORE_CTX, OpensslDeleter<X509_STORE_CTX_free>>;
using PemReader = std::unique_ptr<BIO, OpensslDeleter<BIO_free>>;

void FreeStack(STACK_OF(X509) * stack) { sk_X509_pop_free(stack, X509_free); }
using Certificates = std::unique_ptr<STACK_OF(X509), OpensslDeleter<FreeStack>>;

// Rejections are cached for this long only: another path may become valid before the certificate
// says so.
constexpr int64_t kRefusalS = 1;

// All certificates in the text, possibly none.
Certificates ReadCertificates(absl::string_view pem) {
  Certificates certificates(sk_X509_new_null());
  const PemReader reader(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  while (certificates != nullptr && reader != nullptr) {
    Certificate certificate(PEM_read_bio_X509(reader.get(), nullptr, nullptr, nullptr));
    if (certificate == nullptr) break;
    if (sk_X509_push(certificates.get(), certificate.get()) == 0) break;
    certificate.release();
  }
  // OpenSSL reports the end of the text as an error.
  ERR_clear_error();
  return certificates;
}

int64_t UnixSeconds(const ASN1_TIME* time) {
  std::tm parts = {};
  return ASN1_TIME_to_tm(time, &parts) == 1 ? static_cast<int64_t>(timegm(&parts)) : 0;
}

std::string TimeText(int64_t unix_s) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixSeconds(unix_s), absl::UTCTimeZone());
}

absl::Status RefuseIdentity(absl::string_view what) {
  return MakeError(absl::StatusCode::kUnauthenticated, Reason::kIdentityInvalid, what);
}

// `at` is the certificate of the path at which the check failed.
absl::Status Refusal(int error, const X509* at, int depth) {
  const absl::string_view whose =
      depth == 0 ? "the client's certificate" : "a CA of the client's certificate";
  if (at != nullptr && error == X509_V_ERR_CERT_HAS_EXPIRED) {
    return RefuseIdentity(
        absl::StrCat(whose, " expired at ", TimeText(UnixSeconds(X509_get0_notAfter(at)))));
  }
  if (at != nullptr && error == X509_V_ERR_CERT_NOT_YET_VALID) {
    return RefuseIdentity(absl::StrCat(whose, " is not valid before ",
                                       TimeText(UnixSeconds(X509_get0_notBefore(at)))));
  }
  return RefuseIdentity("the client's certificate is no longer from a trusted CA");
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(TlsFiles::kFileBytesMax, '\0');
  // Unlike an iterator of its characters, this does not throw for a directory.
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad()) {
    return absl::FailedPreconditionError("tls.ca_file cannot be read");
  }
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

}  // namespace

class TlsPeers::TrustedCas {
 public:
  // Null if the file holds no certificates.
  static std::shared_ptr<const TrustedCas> Read(absl::string_view pem) {
    const Certificates certificates = ReadCertificates(pem);
    Store store(X509_STORE_new());
    if (certificates == nullptr || store == nullptr || sk_X509_num(certificates.get()) == 0) {
      return nullptr;
    }
    for (int i = 0; i < sk_X509_num(certificates.get()); ++i) {
      if (X509_STORE_add_cert(store.get(), sk_X509_value(certificates.get(), i)) != 1) {
        ERR_clear_error();
        return nullptr;
      }
    }
    // The same flags as gRPC uses at the handshake.
    X509_STORE_set_flags(store.get(), X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_TRUSTED_FIRST);
    return std::shared_ptr<const TrustedCas>(new TrustedCas(std::move(store)));
  }

  X509_STORE* store() const { return store_.get(); }

 private:
  explicit TrustedCas(Store store) : store_(std::move(store)) {}

  const Store store_;
};

struct TlsPeers::ChainHash {
  using is_transparent = void;
  size_t operator()(const std::pair<std::string, std::string>& key) const {
    return absl::HashOf(absl::string_view(key.first), absl::string_view(key.second));
  }
  size_t operator()(const PeerChain& chain) const {
    return absl::HashOf(chain.certificate, chain.intermediates);
  }
};

struct TlsPeers::ChainEqual {
  using is_transparent = void;
  using Key = std::pair<std::string, std::string>;
  bool operator()(const Key& a, const Key& b) const { return a == b; }
  bool operator()(const Key& a, const PeerChain& b) const {
    return a.first == b.certificate && a.second == b.intermediates;
  }
  bool operator()(const PeerChain& a, const Key& b) const { return (*this)(b, a); }
};

TlsPeers::TlsPeers(std::string ca_file, Clock* clock)
    : ca_file_(std::move(ca_file)),
      clock_(clock),
      verdicts_(std::make_unique<decltype(verdicts_)::element_type>()) {}

TlsPeers::~TlsPeers() = default;

absl::StatusOr<std::unique_ptr<TlsPeers>> TlsPeers::Open(const std::string& ca_file, Clock* clock) {
  auto peers = std::unique_ptr<TlsPeers>(new TlsPeers(ca_file, clock));
  RETURN_IF_ERROR(peers->Refresh());
  return peers;
}

absl::Status TlsPeers::Refresh() {
  auto pem = ReadFile(ca_file_);
  RETURN_IF_ERROR(pem.status());
  {
    MutexLock lock(&mutex_);
    if (trusted_ != nullptr && *pem == ca_pem_) return absl::OkStatus();
  }
  std::shared_ptr<const TrustedCas> trusted = TrustedCas::Read(*pem);
  if (trusted == nullptr) {
    return absl::FailedPreconditionError("tls.ca_file holds no usable certificates");
  }
  MutexLock lock(&mutex_);
  ca_pem_ = *std::move(pem);
  trusted_ = std::move(trusted);
  verdicts_->clear();
  return absl::OkStatus();
}

absl::Status TlsPeers::Check(const PeerChain& chain) {
  const int64_t now_s = absl::ToUnixSeconds(clock_->Read().wall);
  std::shared_ptr<const TrustedCas> trusted;
  {
    MutexLock lock(&mutex_);
    const auto known = verdicts_->find(chain);
    if (known != verdicts_->end() && known->second.from_s <= now_s &&
        now_s < known->second.until_s) {
      return known->second.status;
    }
    trusted = trusted_;
  }
  Verdict verdict = Judge(*trusted, chain, now_s);
  absl::Status status = verdict.status;
  MutexLock lock(&mutex_);
  // The file has changed in the meantime; the next RPC verifies the chain again.
  if (trusted != trusted_) return status;
  if (verdicts_->size() >= kVerdictsMax) verdicts_->clear();
  (*verdicts_)[{std::string(chain.certificate), std::string(chain.intermediates)}] =
      std::move(verdict);
  return status;
}

TlsPeers::Verdict TlsPeers::Judge(const TrustedCas& trusted, const PeerChain& chain,
                                  int64_t now_s) {
  const auto refused = [now_s](absl::Status status) {
    return Verdict{.status = std::move(status), .from_s = now_s, .until_s = now_s + kRefusalS};
  };
  const Certificates own = ReadCertificates(chain.certificate);
  const Certificates between = ReadCertificates(chain.intermediates);
  const X509StoreContext context(X509_STORE_CTX_new());
  if (own == nullptr || sk_X509_num(own.get()) == 0 || between == nullptr || context == nullptr ||
      X509_STORE_CTX_init(context.get(), trusted.store(), sk_X509_value(own.get(), 0),
                          between.get()) != 1) {
    return refused(RefuseIdentity("the client's certificate cannot be read"));
  }
  X509_STORE_CTX_set_default(context.get(), "ssl_client");
  X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(context.get()), static_cast<time_t>(now_s));
  const bool is_valid = X509_verify_cert(context.get()) == 1;
  ERR_clear_error();
  if (!is_valid) {
    return refused(Refusal(X509_STORE_CTX_get_error(context.get()),
                           X509_STORE_CTX_get_current_cert(context.get()),
                           X509_STORE_CTX_get_error_depth(context.get())));
  }
  Verdict verdict{.from_s = std::numeric_limits<int64_t>::min(),
                  .until_s = std::numeric_limits<int64_t>::max()};
  const STACK_OF(X509)* const path = X509_STORE_CTX_get0_chain(context.get());
  for (int i = 0; i < sk_X509_num(path); ++i) {
    const X509* const certificate = sk_X509_value(path, i);
    verdict.from_s = std::max(verdict.from_s, UnixSeconds(X509_get0_notBefore(certificate)));
    // OpenSSL treats a certificate as expired in its last second.
    verdict.until_s = std::min(verdict.until_s, UnixSeconds(X509_get0_notAfter(certificate)));
  }
  return verdict;
}

}  // namespace mayfly
