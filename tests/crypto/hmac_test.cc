#include "crypto/hmac.h"

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
  const SecretBytes saved = key.ToSecret();
  const HmacKey loaded = HmacKey::FromSecret(saved);
  EXPECT_EQ(HmacSha256Of(loaded, {AsBytes("message")}), HmacSha256Of(key, {AsBytes("message")}));
}

TEST(HmacKeyDeathTest, IsNotLoadedFromAnythingElse) {
  const SecretBytes key(32);
  EXPECT_DEATH(HmacKey::FromSecret(key), "an HMAC key was saved in this secret");
}

}  // namespace
}  // namespace mayfly
