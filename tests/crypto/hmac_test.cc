#include "crypto/hmac.h"

#include <array>
#include <string>

#include "gtest/gtest.h"

#include "crypto/vector_file.h"

namespace mayfly {
namespace {

TEST(HmacSha256, AgreesWithRfc4231) {
  const std::vector<Vector> vectors = ReadVectors("HMAC/rfc-4231-sha256.txt", "Len");
  ASSERT_EQ(vectors.size(), 6u);
  for (const Vector& vector : vectors) {
    const HmacKey key(AsBytes(vector.Bytes("Key")));
    const std::string message = vector.Bytes("Msg");
    EXPECT_EQ(AsText(HmacSha256Of(key, {AsBytes(message)})), vector.Bytes("MD"));
  }
}

TEST(HmacSha256, TakesAMessageInParts) {
  const HmacKey key(AsBytes("key"));
  EXPECT_EQ(HmacSha256Of(key, {AsBytes("one "), AsBytes(""), AsBytes("message")}),
            HmacSha256Of(key, {AsBytes("one message")}));
}

TEST(HmacKey, SignsTheSameOnceSavedAndLoaded) {
  const HmacKey key(AsBytes("key"));
  std::array<uint8_t, HmacKey::kSavedSize> saved;
  key.SaveTo(saved.data());
  const HmacKey loaded = HmacKey::FromSaved(saved.data());
  EXPECT_EQ(HmacSha256Of(loaded, {AsBytes("message")}), HmacSha256Of(key, {AsBytes("message")}));
}

}  // namespace
}  // namespace mayfly
