#include "crypto/hkdf.h"

#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "gtest/gtest.h"

#include "crypto/vector_file.h"

namespace mayfly {
namespace {

std::string Expand(const HmacKey& key, absl::Span<const ByteSpan> info, size_t size) {
  std::vector<uint8_t> out(size);
  HkdfExpand(key, info, absl::MakeSpan(out));
  return std::string(AsText(out));
}

TEST(Hkdf, AgreesWithRfc5869) {
  const std::vector<Vector> vectors = ReadVectors("KDF/rfc-5869-HKDF-SHA256.txt", "COUNT");
  ASSERT_EQ(vectors.size(), 3u);
  for (const Vector& vector : vectors) {
    const HmacKey salt(AsBytes(vector.Bytes("salt")));
    uint8_t pseudorandom_key[kPseudorandomKeySize];
    HkdfExtract(salt, AsBytes(vector.Bytes("IKM")), pseudorandom_key);
    EXPECT_EQ(AsText(pseudorandom_key), vector.Bytes("PRK"));

    size_t size = 0;
    ASSERT_TRUE(absl::SimpleAtoi(vector.Text("L"), &size));
    const std::string info = vector.Bytes("info");
    EXPECT_EQ(Expand(HmacKey(pseudorandom_key), {AsBytes(info)}, size), vector.Bytes("OKM"));
  }
}

TEST(Hkdf, TakesInfoInParts) {
  const HmacKey key(AsBytes("key"));
  EXPECT_EQ(Expand(key, {AsBytes("la"), AsBytes("bel")}, 76), Expand(key, {AsBytes("label")}, 76));
}

TEST(Hkdf, GivesUpTo255Blocks) {
  const HmacKey key(AsBytes("key"));
  const std::string longest = Expand(key, {AsBytes("info")}, kHkdfOutputBytesMax);
  // RFC 5869 section 2.3: T(255) = HMAC(T(254) || info || 255).
  const uint8_t number = 255;
  const Sha256Digest last_block = HmacSha256Of(
      key, {AsBytes(longest).subspan(253 * 32, 32), AsBytes("info"), ByteSpan(&number, 1)});
  EXPECT_EQ(AsText(last_block), longest.substr(254 * 32));
}

TEST(HkdfDeathTest, GivesNoMoreThan255Blocks) {
  const HmacKey key(AsBytes("key"));
  EXPECT_DEATH(Expand(key, {}, kHkdfOutputBytesMax + 1), "HKDF gives at most 8160 bytes");
}

}  // namespace
}  // namespace mayfly
