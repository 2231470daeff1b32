// decrypt_test.py checks the format independently. This test covers the sizes, the rejections and
// the further guarantees of the C++ interface.
#include "crypto/chunked_aead.h"

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"

#include "base/error.h"

namespace mayfly {
namespace {

constexpr uint64_t kSeed = 20260101;
constexpr size_t kSealedChunkBytes = kChunkBytes + kGcmTagSize;

// Around the boundaries of nothing, of a chunk, of two, and of a storage segment.
constexpr size_t kSizes[] = {0,     1,     15,    16,    17,    100,   1024,  16383,   16384,
                             16385, 32767, 32768, 32769, 65535, 65536, 65537, 1048575, 1048576};

std::string RandomText(size_t bytes, uint64_t seed = kSeed) {
  std::mt19937_64 generator(seed);
  std::string text(bytes, '\0');
  for (char& c : text) c = static_cast<char>(generator());
  return text;
}

InputKey Key(absl::string_view bytes = "an input key of thirty-two bytes") {
  return InputKey(AsBytes(bytes));
}

std::string SealText(const std::string& plaintext, absl::string_view context = "context") {
  std::string sealed;
  Seal(Key(), AsBytes(context), {AsBytes(plaintext)}, &sealed);
  return sealed;
}

absl::StatusOr<std::string> OpenText(const std::string& sealed,
                                     absl::string_view context = "context",
                                     const InputKey& key = Key()) {
  std::string plaintext;
  RETURN_IF_ERROR(Open(key, AsBytes(context), AsBytes(sealed), &plaintext));
  return plaintext;
}

void ExpectRefused(const absl::StatusOr<std::string>& opened, const std::string& what) {
  ASSERT_FALSE(opened.ok()) << what << " was accepted";
  EXPECT_EQ(opened.status().code(), absl::StatusCode::kDataLoss) << what;
  EXPECT_EQ(ReasonOf(opened.status()), Reason::kAuthenticationFailed) << what;
}

// The chunks of a sealed message, and the message of other chunks after the same prefix.
std::vector<std::string> ChunksOf(const std::string& sealed) {
  std::vector<std::string> chunks;
  for (size_t at = kSealedPrefixSize; at < sealed.size(); at += kSealedChunkBytes) {
    chunks.push_back(sealed.substr(at, kSealedChunkBytes));
  }
  return chunks;
}

std::string WithChunks(const std::string& sealed, const std::vector<std::string>& chunks) {
  std::string joined = sealed.substr(0, kSealedPrefixSize);
  for (const std::string& chunk : chunks) joined += chunk;
  return joined;
}

// Sealed from the specification by another implementation, in another language, with the salt
// a0 a1 .. b7 and the key 00 01 .. 1f.
TEST(ChunkedAead, OpensWhatAnotherImplementationSealed) {
  const std::string sealed = absl::HexStringToBytes(
      "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7"
      "aca107dfe6d21086029514103ea31a5f84dda8b389a88fdb41ad2860d2ab37f3"
      "ddd03d049f8d54b40542a5bea56f243a011fa0985ed8"
      "0fb375f92fd379c84dc70a977c7f4b81");
  std::string key(kInputKeySize, '\0');
  for (size_t i = 0; i < key.size(); ++i) key[i] = static_cast<char>(i);
  const absl::StatusOr<std::string> opened = OpenText(sealed, "context", Key(key));
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(*opened, "the mayfly lives a day");
}

TEST(ChunkedAead, OpensWhatItSealedInEverySize) {
  for (size_t bytes : kSizes) {
    const std::string plaintext = RandomText(bytes);
    const std::string sealed = SealText(plaintext);
    EXPECT_EQ(sealed.size(), SealedSize(bytes));
    const absl::StatusOr<std::string> opened = OpenText(sealed);
    ASSERT_TRUE(opened.ok()) << bytes << " bytes: " << opened.status();
    EXPECT_TRUE(*opened == plaintext) << bytes << " bytes, seed " << kSeed;
  }
}

TEST(ChunkedAead, SealsPartsAsOneMessage) {
  std::mt19937_64 generator(kSeed);
  for (size_t bytes : kSizes) {
    const std::string plaintext = RandomText(bytes);
    std::vector<ByteSpan> parts;
    for (size_t at = 0; at < bytes;) {
      const size_t part_bytes = generator() % 2 == 0 ? generator() % 40 : generator() % 40000;
      parts.push_back(AsBytes(plaintext).subspan(at, part_bytes));
      at += parts.back().size();
    }
    parts.push_back(ByteSpan());
    std::string sealed;
    Seal(Key(), AsBytes("context"), parts, &sealed);
    const absl::StatusOr<std::string> opened = OpenText(sealed);
    ASSERT_TRUE(opened.ok()) << bytes << " bytes, seed " << kSeed << ": " << opened.status();
    EXPECT_TRUE(*opened == plaintext) << bytes << " bytes, seed " << kSeed;
  }
}

TEST(ChunkedAead, SealsNoPartsAsTheEmptyMessage) {
  std::string sealed;
  Seal(Key(), ByteSpan(), {}, &sealed);
  const absl::StatusOr<std::string> opened = OpenText(sealed, "");
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(*opened, "");
}

TEST(ChunkedAead, AppendsToWhatIsThere) {
  std::string row = "header";
  Seal(Key(), AsBytes("context"), {AsBytes("payload")}, &row);
  EXPECT_EQ(row.substr(0, 6), "header");

  std::string out = "before ";
  ASSERT_TRUE(Open(Key(), AsBytes("context"), AsBytes(row).subspan(6), &out).ok());
  EXPECT_EQ(out, "before payload");
}

TEST(ChunkedAead, DrawsAFreshSaltForEveryMessage) {
  std::set<std::string> salts, commitments, ciphertexts;
  for (int i = 0; i < 1000; ++i) {
    const std::string sealed = SealText("the same plaintext");
    salts.insert(sealed.substr(0, kSaltSize));
    commitments.insert(std::string(AsText(CommitmentOf(AsBytes(sealed)))));
    ciphertexts.insert(sealed.substr(kSealedPrefixSize));
  }
  EXPECT_EQ(salts.size(), 1000u);
  EXPECT_EQ(commitments.size(), 1000u);
  EXPECT_EQ(ciphertexts.size(), 1000u);
}

TEST(ChunkedAead, ShowsTheCommitmentAfterTheSalt) {
  const std::string sealed = SealText("plaintext");
  EXPECT_EQ(AsText(CommitmentOf(AsBytes(sealed))), sealed.substr(24, 32));
}

TEST(ChunkedAead, RefusesAnotherKeyOrContext) {
  const std::string sealed = SealText("plaintext");
  std::string key = "an input key of thirty-two bytes";
  for (char& byte : key) {
    byte ^= 1;
    ExpectRefused(OpenText(sealed, "context", Key(key)), "another key");
    byte ^= 1;
  }
  for (absl::string_view context : {"", "contex", "context ", "Context", "contextcontext"}) {
    ExpectRefused(OpenText(sealed, context), "another context");
  }
}

TEST(ChunkedAead, RefusesAFlippedBitAnywhereInASmallMessage) {
  for (size_t bytes : {0, 1, 40}) {
    std::string sealed = SealText(RandomText(bytes));
    for (size_t i = 0; i < sealed.size() * 8; ++i) {
      const char bit = static_cast<char>(1 << (i % 8));
      sealed[i / 8] ^= bit;
      ExpectRefused(OpenText(sealed), absl::StrCat("bit ", i, " of ", bytes, " bytes flipped"));
      sealed[i / 8] ^= bit;
    }
    EXPECT_TRUE(OpenText(sealed).ok());
  }
}

TEST(ChunkedAead, RefusesAFlippedBitInEveryChunkAndTag) {
  for (size_t bytes : {16384, 16385, 32768, 40000}) {
    std::string sealed = SealText(RandomText(bytes));
    for (size_t chunk = kSealedPrefixSize; chunk < sealed.size(); chunk += kSealedChunkBytes) {
      const size_t end = std::min(chunk + kSealedChunkBytes, sealed.size());
      for (size_t at : {chunk, (chunk + end) / 2, end - kGcmTagSize, end - 1}) {
        sealed[at] ^= 0x10;
        ExpectRefused(OpenText(sealed), absl::StrCat("byte ", at, " of ", bytes, " changed"));
        sealed[at] ^= 0x10;
      }
    }
    EXPECT_TRUE(OpenText(sealed).ok());
  }
}

TEST(ChunkedAead, RefusesATruncatedMessage) {
  for (size_t bytes : {0, 1, 40}) {
    const std::string sealed = SealText(RandomText(bytes));
    for (size_t size = 0; size < sealed.size(); ++size) {
      ExpectRefused(OpenText(sealed.substr(0, size)), absl::StrCat("cut to ", size));
    }
  }
  for (size_t bytes : {16384, 16385, 32768, 40000}) {
    const std::string sealed = SealText(RandomText(bytes));
    for (size_t chunk = 0; chunk < ChunksOf(sealed).size(); ++chunk) {
      const size_t boundary = kSealedPrefixSize + chunk * kSealedChunkBytes;
      for (size_t size : {boundary, boundary + 1, boundary + 15, boundary + 16, boundary + 17,
                          boundary + 1000, boundary + 16399}) {
        if (size >= sealed.size()) continue;
        ExpectRefused(OpenText(sealed.substr(0, size)), absl::StrCat("cut to ", size));
      }
    }
    ExpectRefused(OpenText(sealed.substr(0, sealed.size() - 1)), "cut by one byte");
  }
}

TEST(ChunkedAead, RefusesAnExtendedMessage) {
  for (size_t bytes : {0, 1, 16384, 40000}) {
    const std::string sealed = SealText(RandomText(bytes));
    for (size_t more : {1, 15, 16, 17, 16400, 16416}) {
      ExpectRefused(OpenText(sealed + std::string(more, '\0')), absl::StrCat(more, " zeros more"));
    }
    ExpectRefused(OpenText(sealed + ChunksOf(sealed).back()), "the last chunk twice");
  }
}

TEST(ChunkedAead, RefusesMovedDroppedAndRepeatedChunks) {
  const std::string sealed = SealText(RandomText(3 * kChunkBytes + 100));
  const std::vector<std::string> chunks = ChunksOf(sealed);
  ASSERT_EQ(chunks.size(), 4u);
  std::vector<size_t> order = {0, 1, 2, 3};
  while (std::next_permutation(order.begin(), order.end())) {
    std::vector<std::string> moved;
    for (size_t i : order) moved.push_back(chunks[i]);
    ExpectRefused(OpenText(WithChunks(sealed, moved)), "moved chunks");
  }
  for (size_t i = 0; i < chunks.size(); ++i) {
    std::vector<std::string> changed = chunks;
    changed.erase(changed.begin() + static_cast<ptrdiff_t>(i));
    ExpectRefused(OpenText(WithChunks(sealed, changed)), absl::StrCat("without chunk ", i));
    changed = chunks;
    changed.insert(changed.begin() + static_cast<ptrdiff_t>(i), chunks[i]);
    ExpectRefused(OpenText(WithChunks(sealed, changed)), absl::StrCat("chunk ", i, " twice"));
  }
}

TEST(ChunkedAead, RefusesPartsOfAnotherSealingOfTheSamePlaintext) {
  const std::string plaintext = RandomText(2 * kChunkBytes + 100);
  const std::string one = SealText(plaintext);
  const std::string other = SealText(plaintext);
  ExpectRefused(OpenText(other.substr(0, kSaltSize) + one.substr(kSaltSize)), "another salt");
  ExpectRefused(OpenText(WithChunks(other, ChunksOf(one))), "another prefix");
  for (size_t i = 0; i < 3; ++i) {
    std::vector<std::string> mixed = ChunksOf(one);
    mixed[i] = ChunksOf(other)[i];
    ExpectRefused(OpenText(WithChunks(one, mixed)), absl::StrCat("chunk ", i, " of another"));
  }
}

// A later chunk fails after earlier ones were written: nothing of them may remain.
TEST(ChunkedAead, LeavesNoPlaintextBehindWhenItRefuses) {
  std::string sealed = SealText(std::string(40000, 'p'));
  sealed.back() ^= 1;
  std::vector<uint8_t> out(40000, 0xff);
  EXPECT_FALSE(Open(Key(), AsBytes("context"), AsBytes(sealed), absl::MakeSpan(out)).ok());
  EXPECT_EQ(out, std::vector<uint8_t>(40000, 0));

  std::string text = "before";
  text.reserve(50000);
  EXPECT_FALSE(Open(Key(), AsBytes("context"), AsBytes(sealed), &text).ok());
  EXPECT_EQ(text, "before");
  EXPECT_EQ(std::count(text.data(), text.data() + 40000, 'p'), 0);
}

TEST(ChunkedAead, ChecksTheCommitmentBeforeItDecrypts) {
  std::string sealed = SealText("plaintext");
  sealed[kSaltSize] ^= 1;
  sealed.back() ^= 1;
  EXPECT_EQ(OpenText(sealed).status().message(),
            "the commitment is not that of this key and context");
}

TEST(ChunkedAead, KnowsItsSizes) {
  EXPECT_EQ(SealedSize(0), 72u);
  EXPECT_EQ(SealedSize(16383), 16455u);
  EXPECT_EQ(SealedSize(16384), 16472u);
  EXPECT_EQ(SealedSize(1 << 20), 1049672u);
  for (size_t bytes : kSizes) EXPECT_EQ(OpenedSize(SealedSize(bytes)).value(), bytes);
  EXPECT_EQ(OpenedSize(SealedSize(kPlaintextBytesMax)).value(), kPlaintextBytesMax);
}

TEST(ChunkedAead, RefusesSizesThatNoMessageHas) {
  for (size_t full_chunks : {0, 1, 2, 64}) {
    const size_t start = kSealedPrefixSize + full_chunks * kSealedChunkBytes;
    for (size_t more = 0; more < kGcmTagSize; ++more) {
      EXPECT_EQ(ReasonOf(OpenedSize(start + more).status()), Reason::kAuthenticationFailed);
    }
    EXPECT_EQ(OpenedSize(start + kGcmTagSize).value(), full_chunks * kChunkBytes);
  }
  for (size_t bytes = 0; bytes < kSealedPrefixSize; ++bytes) {
    EXPECT_EQ(ReasonOf(OpenedSize(bytes).status()), Reason::kAuthenticationFailed);
  }
  EXPECT_FALSE(OpenedSize(SealedSize(kPlaintextBytesMax) + 1 + kGcmTagSize).ok());
}

TEST(ChunkedAead, IsUsedByManyThreadsAtOnce) {
  std::vector<std::thread> threads;
  for (size_t i = 0; i < 4; ++i) {
    threads.emplace_back([i] {
      for (size_t round = 0; round < 100; ++round) {
        const std::string plaintext = RandomText(i * 9000 + round, kSeed + i);
        const absl::StatusOr<std::string> opened = OpenText(SealText(plaintext));
        ASSERT_TRUE(opened.ok()) << opened.status();
        ASSERT_TRUE(*opened == plaintext);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(ChunkedAeadDeathTest, EndsTheProcessOnAProgrammersError) {
  std::vector<uint8_t> out(72);
  EXPECT_DEATH(Key("short"), "an input key has 32 bytes");
  EXPECT_DEATH(Seal(Key(), {}, {AsBytes("x")}, absl::MakeSpan(out)), "output has the sealed size");
  EXPECT_DEATH(SealedSize(kPlaintextBytesMax + 1), "at most 2\\^38 chunks");
}

}  // namespace
}  // namespace mayfly
