// Checks the chain of an hour and the bytes of the keyring against known answers, which an independent
// script computes from ARCHITECTURE.md.
#include "keys/hour_key_vectors.h"

#include <fstream>
#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"

#include "base/bytes.h"
#include "base/file_system.h"
#include "keys/hour_chain.h"
#include "keys/keyring.h"
#include "keys/keyring_format.h"
#include "support/temporary_directory.h"

namespace mayfly {
namespace {

// Both as an HmacKey saves them.
std::string LeafOf(HourChain* chain, uint32_t second) {
  std::string saved(HmacKey::kSavedSize, '\0');
  chain->CopyLeaf(second, AsMutableBytes(&saved).data());
  return saved;
}
std::string LeafIn(const HourKeyVector& vector, uint32_t second) {
  std::string saved(HmacKey::kSavedSize, '\0');
  HmacKey(AsBytes(vector.Bytes("leaf_" + std::to_string(second))))
      .SaveTo(AsMutableBytes(&saved).data());
  return saved;
}

StoreId StoreIdOf(const HourKeyVector& header) {
  StoreId store_id;
  const std::string bytes = header.Bytes("store_id");
  std::copy(bytes.begin(), bytes.end(), store_id.begin());
  return store_id;
}

TEST(HourKeyVectors, TheChainHasTheLeavesOfItsSeconds) {
  const HourKeyVector vector = HourKeyVectorWith("chain");
  HourChain chain(vector.Secret("chain"), 0);
  for (const uint32_t second : {3599, 0, 1800, 1}) {
    EXPECT_EQ(LeafOf(&chain, second), LeafIn(vector, second));
  }
}

TEST(HourKeyVectors, TheChainClosesToTheKeysOfItsSeconds) {
  const HourKeyVector vector = HourKeyVectorWith("chain");
  // Once with leaves that were asked for, and once without.
  for (const bool is_used : {false, true}) {
    HourChain chain(vector.Secret("chain"), 0);
    if (is_used) LeafOf(&chain, 2000);
    for (const uint32_t second : {1, 1801, 3599}) {
      chain.CloseBefore(second);
      EXPECT_EQ(AsText(chain.key().ExposeBytes()), vector.Bytes("key_" + std::to_string(second)));
    }
    EXPECT_EQ(LeafOf(&chain, 3599), LeafIn(vector, 3599));
  }
}

TEST(HourKeyVectors, AChainGoesOnFromAnyOfItsKeys) {
  const HourKeyVector vector = HourKeyVectorWith("chain");
  HourChain chain(vector.Secret("key_1"), 1);
  EXPECT_EQ(LeafOf(&chain, 1), LeafIn(vector, 1));
  EXPECT_EQ(LeafOf(&chain, 1800), LeafIn(vector, 1800));
  HourChain last(vector.Secret("key_3599"), 3599);
  EXPECT_EQ(LeafOf(&last, 3599), LeafIn(vector, 3599));
}

TEST(HourKeyVectors, TheHeaderHasItsBytes) {
  const HourKeyVector vector = HourKeyVectorWith("header");
  const SecretBytes root_key = vector.Secret("root_key");
  const KeyringSector sector = vector.Sector("header");
  const auto header = DecodeKeyringHeader(ByteSpan(sector));
  ASSERT_TRUE(header.has_value());
  EXPECT_EQ(header->rotation, static_cast<uint64_t>(vector.Number("rotation")));
  EXPECT_EQ(header->store_id, StoreIdOf(vector));
  EXPECT_TRUE(IsOfRootKey(root_key, ByteSpan(sector)));
  EXPECT_FALSE(IsOfRootKey(vector.Secret("store_id"), ByteSpan(sector)));
  EXPECT_EQ(EncodeKeyringHeader(root_key, *header), sector);
}

TEST(HourKeyVectors, CellsHaveTheirBytesAndKeys) {
  const HourKeyVector header = HourKeyVectorWith("header");
  for (const HourKeyVector& vector : HourKeyVectorsWith("cell")) {
    const KeyringSector sector = vector.Sector("cell");
    const auto cell = DecodeKeyringCell(ByteSpan(sector));
    ASSERT_TRUE(cell.has_value());
    EXPECT_EQ(cell->number, vector.Number("number"));
    EXPECT_EQ(cell->hour, vector.Number("hour"));
    EXPECT_EQ(cell->first_open, vector.Number("first_open"));
    EXPECT_EQ(cell->is_open(), vector.Has("key"));
    EXPECT_EQ(EncodeKeyringCell(*cell), sector);
    if (!cell->is_open()) continue;
    const auto key = OpenHourKey(header.Secret("root_key"), StoreIdOf(header), *cell);
    ASSERT_TRUE(key.ok()) << key.status();
    EXPECT_EQ(AsText(key->ExposeBytes()), vector.Bytes("key"));
  }
}

TEST(HourKeyVectors, AKeyringOfTheirCellsHasTheInputKeyOfTheRow) {
  const TemporaryDirectory directory;
  std::ofstream(directory / "keyring", std::ios::binary) << VectorsKeyringFile();
  const auto keyring = Keyring::Open(PosixFileSystem(), directory.path(),
                                     HourKeyVectorWith("header").Secret("root_key"));
  ASSERT_TRUE(keyring.ok()) << keyring.status();
  const HourKeyVector row = HourKeyVectorWith("row");
  const std::string slot_secret = row.Bytes("slot_secret");
  SecondRef second = {.hour_key = static_cast<HourKeyNumber>(row.Number("hour_key")),
                      .due_s = row.Number("due_s")};
  const auto input_key = (*keyring)->Extract(second, AsBytes(slot_secret));
  ASSERT_TRUE(input_key.ok()) << input_key.status();
  EXPECT_EQ(AsText(input_key->ExposeBytes()), row.Bytes("input_key"));

  // Its first open second, and the one before.
  second.due_s -= 1;
  EXPECT_TRUE((*keyring)->Extract(second, AsBytes(slot_secret)).ok());
  second.due_s -= 1;
  EXPECT_EQ((*keyring)->Extract(second, AsBytes(slot_secret)).status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace mayfly
