#include "rpc/tls_guard.h"

#include <atomic>
#include <dlfcn.h>
#include <memory>
#include <time.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "rpc/frame_guard.h"

namespace mayfly {
namespace {

using SslRead = int (*)(SSL*, void*, int);

// The error's numbers at OpenSSL.
constexpr int kTooManyHeaders = 1;
constexpr int kTooManyResets = 2;

std::atomic<size_t> g_metadata_bytes_max{0};  // SSL_read carries no context

void FreeGuard(void*, void* guard, CRYPTO_EX_DATA*, int, long, void*) {
  delete static_cast<FrameGuard*>(guard);
}

int GuardIndex() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, FreeGuard);
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

// Null on connections that this process has opened itself.
FrameGuard* GuardOf(SSL* ssl) {
  const size_t metadata_bytes_max = g_metadata_bytes_max.load(std::memory_order_relaxed);
  if (metadata_bytes_max == 0 || !SSL_is_server(ssl)) return nullptr;
  auto* guard = static_cast<FrameGuard*>(SSL_get_ex_data(ssl, GuardIndex()));
  if (guard == nullptr) {
    guard = new FrameGuard(metadata_bytes_max);
    SSL_set_ex_data(ssl, GuardIndex(), guard);
  }
  return guard;
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
  const mayfly::ByteSpan bytes(static_cast<const uint8_t*>(buffer), static_cast<size_t>(count));
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

absl::Status GuardFrames(size_t metadata_bytes_max) {
  if (OpensslsRead() == nullptr ||
      dlsym(RTLD_DEFAULT, "SSL_read") != reinterpret_cast<void*>(&SSL_read)) {
    return absl::FailedPreconditionError("the size of headers cannot be bounded in this build");
  }
  ErrorLibrary();
  g_metadata_bytes_max.store(metadata_bytes_max, std::memory_order_relaxed);
  return absl::OkStatus();
}

}  // namespace mayfly
