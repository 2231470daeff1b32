// NIST's test vectors with a 96-bit nonce, no additional data and a 128-bit tag, which is the only
// variant used. Others in the files are skipped, and the remaining cases are counted.
#include "crypto/aes_gcm.h"

#include <optional>
#include <string>

#include "gtest/gtest.h"

#include "crypto/vector_file.h"

namespace mayfly {
namespace {

constexpr size_t kCaseCount = 75;  // five plaintext sizes with 15 cases each

std::vector<Vector> ReadOurShape(const std::string& file) {
  std::vector<Vector> vectors;
  for (Vector& vector : ReadVectors(file, "Count")) {
    if (vector.Text("IVlen") != "96") continue;
    if (vector.Text("AADlen") != "0") continue;
    if (vector.Text("Taglen") != "128") continue;
    vectors.push_back(std::move(vector));
  }
  return vectors;
}

// Texts are bytes throughout.
struct Case {
  std::string key, nonce, plaintext, ciphertext, tag;
};

std::string SealInPieces(const Case& test, size_t piece_bytes) {
  Aes256Gcm& cipher = Aes256Gcm::OfThisThread();
  std::string out(test.plaintext.size() + kGcmTagSize, '?');
  uint8_t* next = reinterpret_cast<uint8_t*>(out.data());
  cipher.SetKey(AsBytes(test.key).data());
  cipher.StartSeal(AsBytes(test.nonce).data());
  for (size_t at = 0; at < test.plaintext.size(); at += piece_bytes) {
    const ByteSpan piece = AsBytes(test.plaintext).subspan(at, piece_bytes);
    cipher.Update(piece, next);
    next += piece.size();
  }
  cipher.FinishSeal(next);
  return out;
}

std::optional<std::string> Open(const Case& test) {
  Aes256Gcm& cipher = Aes256Gcm::OfThisThread();
  std::string out(test.ciphertext.size(), '?');
  cipher.SetKey(AsBytes(test.key).data());
  cipher.StartOpen(AsBytes(test.nonce).data());
  if (!out.empty()) {
    cipher.Update(AsBytes(test.ciphertext), reinterpret_cast<uint8_t*>(out.data()));
  }
  if (!cipher.FinishOpen(AsBytes(test.tag).data())) return std::nullopt;
  return out;
}

TEST(Aes256Gcm, SealsAsNistSays) {
  const std::vector<Vector> vectors = ReadOurShape("ciphers/AES/GCM/gcmEncryptExtIV256.rsp");
  ASSERT_EQ(vectors.size(), kCaseCount);
  for (const Vector& vector : vectors) {
    const Case test{.key = vector.Bytes("Key"),
                    .nonce = vector.Bytes("IV"),
                    .plaintext = vector.Bytes("PT"),
                    .ciphertext = vector.Bytes("CT"),
                    .tag = vector.Bytes("Tag")};
    for (size_t piece_bytes : {1, 7, 16, 64}) {
      EXPECT_EQ(SealInPieces(test, piece_bytes), test.ciphertext + test.tag)
          << "PTlen " << vector.Text("PTlen") << ", Count " << vector.Text("Count");
    }
  }
}

TEST(Aes256Gcm, OpensWhatNistOpensAndRefusesWhatNistRefuses) {
  const std::vector<Vector> vectors = ReadOurShape("ciphers/AES/GCM/gcmDecrypt256.rsp");
  ASSERT_EQ(vectors.size(), kCaseCount);
  size_t refused_count = 0;
  for (const Vector& vector : vectors) {
    const std::optional<std::string> opened = Open({.key = vector.Bytes("Key"),
                                                    .nonce = vector.Bytes("IV"),
                                                    .plaintext = "",
                                                    .ciphertext = vector.Bytes("CT"),
                                                    .tag = vector.Bytes("Tag")});
    const std::optional<std::string> expected =
        vector.Has("FAIL") ? std::nullopt : std::optional<std::string>(vector.Bytes("PT"));
    EXPECT_EQ(opened, expected) << "PTlen " << vector.Text("PTlen") << ", Count "
                                << vector.Text("Count");
    if (!opened.has_value()) ++refused_count;
  }
  EXPECT_GT(refused_count, 0u);
}

}  // namespace
}  // namespace mayfly
