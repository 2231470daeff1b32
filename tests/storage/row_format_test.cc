#include "storage/local/row_format.h"

#include <limits>

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"

#include "storage/storage_harness.h"

namespace mayfly {
namespace {

CallKey KeyOfPattern() {
  std::string bytes = absl::HexStringToBytes("0192aabbccdd7eee8fff001122334455");
  return {.id = CallId::FromBytes(AsBytes(bytes)), .tenant = TenantNumber{0x01020304}};
}

StoredPayload PayloadOfPattern() {
  StoredPayload payload = {.slot = {.slot = 0x11121314, .generation = 0x2122232425262728},
                           .attempt = 0x31323334,
                           .size_bytes = 0x4142434445464748,
                           .stored_ms = 0x5152535455565758,
                           .deadline_ms = 0x6162636465666768,
                           .segment_count = 0x71727374,
                           .hour_key = 0x919293};
  for (uint8_t i = 0; i < 16; ++i) payload.fingerprint[i] = 0x80 + i;
  return payload;
}

template <typename Bytes>
std::string Hex(const Bytes& bytes) {
  return absl::BytesToHexString(AsText(bytes));
}

// The bytes are those of the tables in the header, written out by hand.
TEST(RowFormat, WritesTheBytesOfItsTables) {
  EXPECT_EQ(Hex(EncodeCallKey(KeyOfPattern(), PayloadKind::kOutput)),
            "0192aabbccdd7eee8fff0011223344550102030402");
  EXPECT_EQ(Hex(EncodeRowHeader(PayloadOfPattern())),
            "02919293"
            "11121314"
            "2122232425262728"
            "31323334"
            "71727374"
            "4142434445464748"
            "5152535455565758"
            "6162636465666768"
            "808182838485868788898a8b8c8d8e8f");
  EXPECT_EQ(Hex(EncodeSegmentKey(KeyOfPattern(), {.slot = 5, .generation = 6}, 7)),
            "0192aabbccdd7eee8fff00112233445501020304"
            "00000005"
            "0000000000000006"
            "00000007");
  const SegmentFileId file = {.due_hour = 1, .boot = 2, .number = 3};
  EXPECT_EQ(Hex(EncodeSegmentExtent({.file = file, .offset = 4, .size_bytes = 5, .crc32c = 6})),
            "000000010000000200000003"
            "0000000000000004"
            "00000005"
            "00000006");
  EXPECT_EQ(Hex(EncodeSegmentFileKey(file)), "000000010000000200000003");
  EXPECT_EQ(Hex(EncodeSegmentFile({.synced_bytes = 7, .is_given_up = true})), "000000000000000701");
  const DuePayload due = {.due_s = 0x0102030405,
                          .key = KeyOfPattern(),
                          .kind = PayloadKind::kInput,
                          .slot = {.slot = 5, .generation = 6},
                          .size_bytes = 7,
                          .stored_ms = 8};
  EXPECT_EQ(Hex(EncodeDueKey(due)),
            "0000000102030405"
            "0192aabbccdd7eee8fff00112233445501020304"
            "01");
  EXPECT_EQ(absl::BytesToHexString(EncodeDueValue(due)),
            "00000005"
            "0000000000000006"
            "0000000000000007"
            "0000000000000008");
}

TEST(RowFormat, ReadsBackWhatItWrote) {
  EXPECT_EQ(DecodeRowHeader(AsText(EncodeRowHeader(PayloadOfPattern()))), PayloadOfPattern());

  Tombstone tombstone = {.reason = EndReason::kExpired,
                         .ended_ms = 5,
                         .forget_ms = std::numeric_limits<int64_t>::max(),
                         .input = {.slot = 1, .generation = 2},
                         .output = {.slot = 3, .generation = 4}};
  tombstone.token.fill(9);
  EXPECT_EQ(DecodeTombstone(EncodeTombstone(tombstone)), tombstone);

  const auto tenant = DecodeTenant(
      EncodeTenantKey(TenantNumber{7}),
      EncodeTenant("acme", {.number = TenantNumber{7}, .dead_before_ms = -1, .max_ttl_ms = 9}));
  ASSERT_TRUE(tenant.has_value());
  EXPECT_EQ(tenant->first, "acme");
  EXPECT_EQ(tenant->second.number, TenantNumber{7});
  EXPECT_EQ(tenant->second.dead_before_ms, -1);
  EXPECT_EQ(tenant->second.max_ttl_ms, 9);

  const auto usage = DecodeUsage(EncodeUsageKey(3, TenantNumber{7}),
                                 EncodeUsage({.live_calls = -5, .live_bytes = 6}));
  ASSERT_TRUE(usage.has_value());
  EXPECT_EQ(usage->first, 3u);
  EXPECT_EQ(usage->second.live_calls, -5);
  EXPECT_EQ(usage->second.live_bytes, 6);
}

TEST(RowFormat, RefusesEveryOtherLengthAndVersion) {
  std::string tombstone = EncodeTombstone({});
  EXPECT_TRUE(DecodeTombstone(tombstone).has_value());
  EXPECT_FALSE(DecodeTombstone(tombstone + "x").has_value());
  tombstone[0] = 2;
  EXPECT_FALSE(DecodeTombstone(tombstone).has_value());

  std::string header(AsText(EncodeRowHeader(PayloadOfPattern())));
  for (size_t size = 0; size < header.size(); ++size) {
    EXPECT_FALSE(DecodeRowHeader(header.substr(0, size)).has_value()) << size;
  }
  header[0] = 0;
  EXPECT_FALSE(DecodeRowHeader(header).has_value());

  std::string due_key(AsText(EncodeDueKey({.key = KeyOfPattern()})));
  EXPECT_TRUE(DecodeDue(due_key, EncodeDueValue({})).has_value());
  EXPECT_FALSE(DecodeDue(due_key, "").has_value());
  due_key.back() = 3;
  EXPECT_FALSE(DecodeDue(due_key, EncodeDueValue({})).has_value());
}

TEST(RowFormat, OrdersDueRowsBySecondAndSegmentsByNumber) {
  EXPECT_LT(AsText(EncodeDueKey({.due_s = 255, .key = TestKey(9)})),
            AsText(EncodeDueKey({.due_s = 256, .key = TestKey(1)})));
  EXPECT_LT(EncodeSecond(256), AsText(EncodeDueKey({.due_s = 256, .key = TestKey(1)})));
  EXPECT_LT(AsText(EncodeSegmentKey(TestKey(1), {}, 255)),
            AsText(EncodeSegmentKey(TestKey(1), {}, 256)));
}

}  // namespace
}  // namespace mayfly
