// Checks a row against a known answer, which an independent script computes from ARCHITECTURE.md: its
// header, its key and its ciphertext.
#include <algorithm>
#include <cstdint>
#include <fstream>
#include <string>
#include <utility>

#include "gtest/gtest.h"

#include "base/bytes.h"
#include "base/file_system.h"
#include "call/state.h"
#include "keys/hour_key_vectors.h"
#include "keys/keyring.h"
#include "storage/local/row_format.h"
#include "store/payload_cipher.h"
#include "support/temporary_directory.h"

namespace mayfly {
namespace {

class PayloadVectors : public testing::Test {
 protected:
  StoredPayload Stored() const {
    StoredPayload stored;
    stored.slot = {.slot = static_cast<uint32_t>(vector_.Number("slot")),
                   .generation = static_cast<uint64_t>(vector_.Number("generation"))};
    stored.attempt = static_cast<uint32_t>(vector_.Number("attempt"));
    stored.size_bytes = vector_.Bytes("data").size();
    stored.stored_ms = vector_.Number("stored_ms");
    stored.deadline_ms = vector_.Number("deadline_ms");
    stored.hour_key = static_cast<uint32_t>(vector_.Number("hour_key"));
    const std::string header = vector_.Bytes("row_header");
    std::copy(header.end() - 16, header.end(), stored.fingerprint.begin());
    return stored;
  }
  PayloadMetadata Metadata() const {
    PayloadMetadata metadata;
    metadata.content_type = vector_.Bytes("content_type");
    metadata.encryption_key_id = vector_.Bytes("encryption_key_id");
    for (const std::string number : {"0", "1"}) {
      metadata.labels.emplace_back(vector_.Bytes("label_name_" + number),
                                   vector_.Bytes("label_value_" + number));
    }
    metadata.crc32c = static_cast<uint32_t>(vector_.Number("crc32c"));
    metadata.outcome = static_cast<Outcome>(vector_.Number("outcome"));
    return metadata;
  }

  const HourKeyVector vector_ = HourKeyVectorWith("row");
};

TEST_F(PayloadVectors, TheRowHeaderHasItsBytes) {
  EXPECT_EQ(AsText(EncodeRowHeader(Stored())), vector_.Bytes("row_header"));
  EXPECT_EQ(DecodeRowHeader(vector_.Bytes("row_header")), Stored());
}

TEST_F(PayloadVectors, TheRowOpensWithTheLeafOfItsSecond) {
  const TemporaryDirectory directory;
  std::ofstream(directory / "keyring", std::ios::binary) << VectorsKeyringFile();
  const auto keyring = Keyring::Open(PosixFileSystem(), directory.path(),
                                     HourKeyVectorWith("header").Secret("root_key"));
  ASSERT_TRUE(keyring.ok()) << keyring.status();
  const PayloadCipher cipher(keyring->get());
  const CallKey key = {.id = CallId::FromBytes(AsBytes(vector_.Bytes("call_id"))),
                       .tenant = static_cast<TenantNumber>(vector_.Number("tenant"))};
  const auto payload = cipher.OpenPayload(key, static_cast<PayloadKind>(vector_.Number("kind")),
                                          Stored(), vector_.Secret("slot_secret"),
                                          Sealed::CopyOf(AsBytes(vector_.Bytes("row"))), nullptr);
  ASSERT_TRUE(payload.ok()) << payload.status();
  EXPECT_EQ(payload->data, vector_.Bytes("data"));
  EXPECT_EQ(payload->metadata, Metadata());

  const auto fingerprint = cipher.FingerprintOf(Stored(), vector_.Secret("slot_secret"), Metadata(),
                                                payload->data.size());
  ASSERT_TRUE(fingerprint.ok()) << fingerprint.status();
  EXPECT_EQ(*fingerprint, Stored().fingerprint);
}

}  // namespace
}  // namespace mayfly
