#include "rpc/tls_guard.h"

#include <atomic>
#include <dlfcn.h>
#include <memory>
#include <time.h>
#include <vector>

#include "absl/strings/string_view.h"
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/mutex.h"
#include "crypto/openssl.h"
#include "identity/identity.h"
#include "rpc/reset_budget.h"

namespace mayfly {
namespace {

using SslRead = int (*)(SSL*, void*, int);
using SubjectNames = std::unique_ptr<GENERAL_NAMES, OpensslDeleter<GENERAL_NAMES_free>>;

// The error's numbers at OpenSSL.
constexpr int kTooManyHeaders = 1;
constexpr int kTooManyResets = 2;

struct Settings {
  FrameGuard::Limits limits;
  std::string trust_domain;
};

// SSL_read carries no context, so what it needs is the process's.
struct Shared {
  std::atomic<bool> is_guarding{false};
  Mutex mutex;
  Settings settings GUARDED_BY(mutex);
  SharedResetBudgets resets;
  std::atomic<uint64_t> large_message_bytes{0};
};

Shared& GetShared() {
  // Not destroyed at exit, when gRPC's threads may still read.
  static Shared* const shared = new Shared;
  return *shared;
}

thread_local const std::string* t_address = nullptr;

// The guard of one SSL object, and the peer that it belongs to.
struct Guarded {
  std::string address;
  std::unique_ptr<FrameGuard> guard;  // from the first bytes on
};

// Runs in SSL_new, which gRPC calls on the thread that hands it the connection.
void NoteAddress(void*, void*, CRYPTO_EX_DATA* data, int index, long, void*) {
  if (t_address == nullptr) return;
  CRYPTO_set_ex_data(data, index, new Guarded{.address = *t_address, .guard = nullptr});
}

void FreeGuarded(void*, void* guarded, CRYPTO_EX_DATA*, int, long, void*) {
  delete static_cast<Guarded*>(guarded);
}

int GuardedIndex() {
  static const int index = SSL_get_ex_new_index(0, nullptr, NoteAddress, nullptr, FreeGuarded);
  return index;
}

// Their library's number at OpenSSL, with the words that gRPC writes to the log.
int ErrorLibrary() {
  static const int library = [] {
    const int number = ERR_get_next_error_library();
    static ERR_STRING_DATA strings[] = {
        {ERR_PACK(number, 0, kTooManyHeaders),
         "a client sent more headers than server.metadata_bytes_max allows"},
        {ERR_PACK(number, 0, kTooManyResets), "a client reset more calls than a second allows"},
        {0, nullptr}};
    ERR_load_strings(number, strings);
    return number;
  }();
  return library;
}

// Empty when the certificate names none.
std::string TenantOf(const SSL* ssl, absl::string_view trust_domain) {
  const X509* const certificate = SSL_get0_peer_certificate(ssl);
  if (certificate == nullptr) return "";
  const SubjectNames names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  // An error that stays behind would be taken for one of the next read.
  ERR_clear_error();
  std::vector<absl::string_view> uris;
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI) continue;
    const ASN1_IA5STRING* const uri = name->d.uniformResourceIdentifier;
    uris.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                      static_cast<size_t>(ASN1_STRING_length(uri)));
  }
  const auto identity = IdentityOf(uris, trust_domain);
  return identity.ok() ? identity->tenant : "";
}

std::unique_ptr<FrameGuard> NewGuard(const SSL* ssl, const std::string& address) {
  Shared& shared = GetShared();
  Settings settings;
  {
    MutexLock lock(&shared.mutex);
    settings = shared.settings;
  }
  return std::make_unique<FrameGuard>(
      settings.limits, &shared.large_message_bytes, &shared.resets,
      ResetPeer{.address = address, .tenant = TenantOf(ssl, settings.trust_domain)});
}

// Null on connections that this process has opened itself.
FrameGuard* GuardOf(SSL* ssl) {
  if (!GetShared().is_guarding.load(std::memory_order_relaxed) || !SSL_is_server(ssl)) {
    return nullptr;
  }
  auto* guarded = static_cast<Guarded*>(SSL_get_ex_data(ssl, GuardedIndex()));
  if (guarded == nullptr) {
    guarded = new Guarded;
    SSL_set_ex_data(ssl, GuardedIndex(), guarded);
  }
  if (guarded->guard == nullptr) guarded->guard = NewGuard(ssl, guarded->address);
  return guarded->guard.get();
}

// Of a few milliseconds' accuracy, and without a system call.
absl::Duration CoarseNow() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return absl::DurationFromTimespec(now);
}

SslRead OpensslsRead() {
  static const auto read = reinterpret_cast<SslRead>(dlsym(RTLD_NEXT, "SSL_read"));
  return read;
}

}  // namespace
}  // namespace mayfly

extern "C" __attribute__((visibility("default"))) int SSL_read(SSL* ssl, void* buffer, int size) {
  const int count = mayfly::OpensslsRead()(ssl, buffer, size);
  if (count <= 0) return count;
  mayfly::FrameGuard* const guard = mayfly::GuardOf(ssl);
  const mayfly::MutableByteSpan bytes(static_cast<uint8_t*>(buffer), static_cast<size_t>(count));
  if (guard == nullptr) return count;
  const auto verdict = guard->Feed(bytes, mayfly::CoarseNow());
  if (verdict == mayfly::FrameGuard::Verdict::kFine) return count;
  // gRPC ends a connection on which it cannot read.
  ERR_raise(mayfly::ErrorLibrary(), verdict == mayfly::FrameGuard::Verdict::kTooManyResets
                                        ? mayfly::kTooManyResets
                                        : mayfly::kTooManyHeaders);
  return -1;
}

namespace mayfly {

absl::Status GuardFrames(const FrameGuard::Limits& limits, const std::string& trust_domain) {
  if (OpensslsRead() == nullptr ||
      dlsym(RTLD_DEFAULT, "SSL_read") != reinterpret_cast<void*>(&SSL_read)) {
    return absl::FailedPreconditionError("the size of headers cannot be bounded in this build");
  }
  ErrorLibrary();
  GuardedIndex();
  Shared& shared = GetShared();
  {
    MutexLock lock(&shared.mutex);
    shared.settings = {.limits = limits, .trust_domain = trust_domain};
  }
  shared.is_guarding.store(true, std::memory_order_relaxed);
  return absl::OkStatus();
}

uint64_t LargeMessageBytes() { return GetShared().large_message_bytes; }

uint64_t ResetCallCount() { return GetShared().resets.taken_count(); }

GuardedAddress::GuardedAddress(const std::string& address) { t_address = &address; }

GuardedAddress::~GuardedAddress() { t_address = nullptr; }

}  // namespace mayfly
