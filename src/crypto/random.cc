#include "crypto/random.h"

#include <algorithm>
#include <cstring>
#include <pthread.h>

#include <openssl/rand.h>

#include "base/check.h"
#include "base/secret_bytes.h"

namespace mayfly {
namespace {

constexpr size_t kBufferBytes = 4096;
constexpr size_t kBufferedRequestBytesMax = 256;

void FillFromSource(uint8_t* out, size_t size) {
  Check(RAND_bytes(out, static_cast<int>(size)) == 1, "the random source works");
}

// The unused bytes are the last `left_` of the buffer.
class RandomBuffer {
 public:
  ~RandomBuffer() { Discard(); }

  void Take(MutableByteSpan out) {
    if (left_ < out.size()) {
      FillFromSource(bytes_, kBufferBytes);
      left_ = kBufferBytes;
    }
    uint8_t* next = bytes_ + kBufferBytes - left_;
    memcpy(out.data(), next, out.size());
    WipeMemory(next, out.size());
    left_ -= out.size();
  }

  void Discard() {
    WipeMemory(bytes_, kBufferBytes);
    left_ = 0;
  }

 private:
  uint8_t bytes_[kBufferBytes];
  size_t left_ = 0;
};

RandomBuffer& BufferOfThisThread() {
  thread_local RandomBuffer buffer;
  return buffer;
}

// A fork copies the buffer. If two processes drew the same salt under the same key, AES-GCM would
// be broken. Only the forking thread continues in the child.
bool DiscardAfterFork() {
  return pthread_atfork(nullptr, nullptr, [] { BufferOfThisThread().Discard(); }) == 0;
}

}  // namespace

void FillRandom(MutableByteSpan out) {
  static const bool fork_is_handled = DiscardAfterFork();
  Check(fork_is_handled, "a fork handler can be registered");
  if (out.empty()) return;
  if (out.size() <= kBufferedRequestBytesMax) return BufferOfThisThread().Take(out);
  constexpr size_t kDirectRequestBytesMax = size_t{1} << 30;  // RAND_bytes takes an int
  while (!out.empty()) {
    const size_t size = std::min(out.size(), kDirectRequestBytesMax);
    FillFromSource(out.data(), size);
    out.remove_prefix(size);
  }
}

}  // namespace mayfly
