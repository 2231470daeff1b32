// The cost of sealing a payload, relative to the cipher alone.
//
// Each benchmark takes turns, its own work and the raw cipher one after the other, in processor
// time of this thread, so that neither a busy neighbour nor a change of clock speed falls on one
// side only. The raw cipher works in operations of at most 16 KiB. `of_new_key` is its time with a
// new key for each operation, divided by ours; `of_same_key`, with a new nonce only. 1 is free.
#include <time.h>
#include <vector>

#include "benchmark/benchmark.h"
#include <openssl/evp.h>

#include "base/check.h"
#include "crypto/chunked_aead.h"
#include "crypto/hkdf.h"
#include "crypto/random.h"

namespace mayfly {
namespace {

constexpr size_t kTurnBytes = 1 << 20;  // a turn is long enough for its two clock readings
constexpr size_t kTurnCountMax = 1024;

double ThreadSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// AES-256-GCM straight through EVP, with a reused context.
class RawCipher {
 public:
  RawCipher() { EVP_EncryptInit_ex2(context_.get(), cipher_.get(), key_, nonce_, nullptr); }

  void Seal(ByteSpan plaintext, bool new_key, uint8_t* out) {
    while (!plaintext.empty()) {
      const ByteSpan piece = plaintext.subspan(0, kChunkBytes);
      SealPiece(piece, new_key, out);
      out += piece.size() + kGcmTagSize;
      plaintext.remove_prefix(piece.size());
    }
  }

 private:
  void SealPiece(ByteSpan piece, bool new_key, uint8_t* out) {
    ++key_[0];
    ++nonce_[0];
    int written = 0;
    EVP_EncryptInit_ex2(context_.get(), nullptr, new_key ? key_ : nullptr, nonce_, nullptr);
    EVP_EncryptUpdate(context_.get(), out, &written, piece.data(), static_cast<int>(piece.size()));
    EVP_EncryptFinal_ex(context_.get(), out, &written);
    EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_AEAD_GET_TAG, kGcmTagSize, out + piece.size());
  }

  Cipher cipher_{EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr)};
  CipherContext context_{EVP_CIPHER_CTX_new()};
  uint8_t key_[kAesKeySize] = {};
  uint8_t nonce_[kGcmNonceSize] = {};
};

// A payload on its way to or from storage: the leaf is that of many, the secret is its own.
struct Payload {
  explicit Payload(size_t bytes) : plaintext(bytes, 'p'), sealed(SealedSize(bytes)) {
    FillRandom(absl::MakeSpan(slot_secret));
  }

  InputKey DeriveInputKey() const {
    uint8_t bytes[kInputKeySize];
    HkdfExtract(leaf, slot_secret, bytes);
    return InputKey(bytes);
  }

  void SealWith(const InputKey& input_key) {
    Seal(input_key, context, {metadata, plaintext}, absl::MakeSpan(sealed));
  }

  const HmacKey leaf{AsBytes("a second's leaf: thirty-two bytes")};
  uint8_t slot_secret[20];
  const std::vector<uint8_t> context = std::vector<uint8_t>(72, 'c');
  const ByteSpan metadata;
  std::vector<uint8_t> plaintext;
  std::vector<uint8_t> sealed;
};

template <typename Work>
double SecondsOf(size_t count, Work work) {
  const double start = ThreadSeconds();
  for (size_t i = 0; i < count; ++i) work();
  return ThreadSeconds() - start;
}

template <typename Work>
void CompareWithRaw(benchmark::State& state, size_t bytes, Work work) {
  RawCipher cipher;
  const std::vector<uint8_t> plaintext(bytes, 'p');
  std::vector<uint8_t> out(SealedSize(bytes));
  const size_t turn_count = std::clamp<size_t>(kTurnBytes / bytes, 1, kTurnCountMax);
  double new_key_seconds = 0;
  double same_key_seconds = 0;
  double work_seconds = 0;
  while (state.KeepRunningBatch(static_cast<benchmark::IterationCount>(turn_count))) {
    new_key_seconds += SecondsOf(turn_count, [&] { cipher.Seal(plaintext, true, out.data()); });
    same_key_seconds += SecondsOf(turn_count, [&] { cipher.Seal(plaintext, false, out.data()); });
    const double seconds = SecondsOf(turn_count, work);
    work_seconds += seconds;
    state.SetIterationTime(seconds);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(bytes));
  state.counters["of_new_key"] = new_key_seconds / work_seconds;
  state.counters["of_same_key"] = same_key_seconds / work_seconds;
  state.counters["new_key_ns"] = 1e9 * new_key_seconds / static_cast<double>(state.iterations());
}

void Sizes(benchmark::internal::Benchmark* benchmark) {
  for (int64_t bytes : {64, 1 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20}) {
    benchmark->Arg(bytes);
  }
  benchmark->UseManualTime();
}

// Claim: with all key derivation, sealing runs at 40 % or more of the raw cipher with new keys at
// 1 KiB, and at 95 % or more from 64 KiB on.
void BM_Seal(benchmark::State& state) {
  Payload payload(static_cast<size_t>(state.range(0)));
  CompareWithRaw(state, payload.plaintext.size(),
                 [&] { payload.SealWith(payload.DeriveInputKey()); });
}
BENCHMARK(BM_Seal)->Apply(Sizes);

// Claim: the fingerprint that makes a put idempotent adds less than 0.4 us, whatever the size.
void BM_SealAndFingerprint(benchmark::State& state) {
  Payload payload(static_cast<size_t>(state.range(0)));
  const std::vector<uint8_t> fingerprinted(40, 'f');
  CompareWithRaw(state, payload.plaintext.size(), [&] {
    const InputKey input_key = payload.DeriveInputKey();
    payload.SealWith(input_key);
    uint8_t key[kSha256DigestSize];
    HkdfExpand(input_key.hmac(), {AsBytes("mayfly fingerprint")}, absl::MakeSpan(key));
    benchmark::DoNotOptimize(HmacSha256Of(HmacKey(key), {fingerprinted}));
  });
}
BENCHMARK(BM_SealAndFingerprint)->Apply(Sizes);

// Claim: opening costs what sealing does.
void BM_Open(benchmark::State& state) {
  Payload payload(static_cast<size_t>(state.range(0)));
  payload.SealWith(payload.DeriveInputKey());
  CompareWithRaw(state, payload.plaintext.size(), [&] {
    const absl::Status status = Open(payload.DeriveInputKey(), payload.context, payload.sealed,
                                     absl::MakeSpan(payload.plaintext));
    Check(status.ok(), "the payload opens");
  });
}
BENCHMARK(BM_Open)->Apply(Sizes);

// Claim: a cached key makes a short HMAC cost two compressions.
void BM_HmacOf40Bytes(benchmark::State& state) {
  const HmacKey key(AsBytes("key"));
  const std::vector<uint8_t> message(40, 'm');
  for (auto _ : state) benchmark::DoNotOptimize(HmacSha256Of(key, {message}));
}
BENCHMARK(BM_HmacOf40Bytes);

// Claim: batching brings 24 random bytes to hundredths of a microsecond.
void BM_RandomSalt(benchmark::State& state) {
  uint8_t salt[kSaltSize];
  for (auto _ : state) FillRandom(absl::MakeSpan(salt));
}
BENCHMARK(BM_RandomSalt);

}  // namespace
}  // namespace mayfly

BENCHMARK_MAIN();
