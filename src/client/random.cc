#include "client/random.h"

#include <errno.h>

#include <sys/random.h>

#include "base/check.h"

namespace mayfly::client {
namespace {

constexpr size_t kClaimTokenBytes = 16;

}  // namespace

void FillFromKernel(MutableByteSpan out) {
  while (!out.empty()) {
    const ssize_t n = getrandom(out.data(), out.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    Check(n > 0, "the kernel gives random bytes");
    out.remove_prefix(static_cast<size_t>(n));
  }
}

std::string NewClaimToken() {
  std::string token(kClaimTokenBytes, '\0');
  FillFromKernel(MutableByteSpan(reinterpret_cast<uint8_t*>(token.data()), token.size()));
  return token;
}

double RandomFraction() {
  uint8_t bytes[sizeof(uint32_t)];
  FillFromKernel(MutableByteSpan(bytes));
  return LoadBigEndian<uint32_t>(bytes) / 4294967296.0;
}

}  // namespace mayfly::client
