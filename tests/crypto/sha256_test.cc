#include "crypto/sha256.h"

#include <string>

#include "gtest/gtest.h"

#include "crypto/vector_file.h"

namespace mayfly {
namespace {

void ExpectAgreement(const std::string& file, size_t count) {
  const std::vector<Vector> vectors = ReadVectors(file, "Len");
  ASSERT_EQ(vectors.size(), count);
  for (const Vector& vector : vectors) {
    // NIST writes the empty message as one zero byte.
    const std::string message = vector.Text("Len") == "0" ? "" : vector.Bytes("Msg");
    EXPECT_EQ(AsText(Sha256Of(AsBytes(message))), vector.Bytes("MD")) << vector.Text("Len");

    Sha256 in_pieces;
    for (size_t at = 0; at < message.size(); at += 37) {
      in_pieces.Update(AsBytes(message).subspan(at, 37));
    }
    EXPECT_EQ(AsText(in_pieces.Finish()), vector.Bytes("MD")) << vector.Text("Len");
  }
}

TEST(Sha256, AgreesWithNistOnShortMessages) {
  ExpectAgreement("hashes/SHA2/SHA256ShortMsg.rsp", 65);
}

TEST(Sha256, AgreesWithNistOnLongMessages) { ExpectAgreement("hashes/SHA2/SHA256LongMsg.rsp", 64); }

}  // namespace
}  // namespace mayfly
