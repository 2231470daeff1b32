#include "base/call_id.h"

#include <string>

#include "absl/hash/hash_testing.h"
#include "absl/strings/ascii.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mayfly {
namespace {

using ::testing::HasSubstr;

// RFC 9562 appendix A.6: minted on 22 February 2022, 2:22:22 PM GMT-05:00.
constexpr char kVector[] = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";
constexpr int64_t kVectorMs = 0x017f22e279b0;
// Its ver, rand_a, var and rand_b, as they stand in the id.
constexpr uint8_t kVectorRandom[] = {0x7c, 0xc3, 0x98, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f};

TEST(CallId, ReadsTheVectorOfRfc9562) {
  const auto id = CallId::Parse(kVector);
  ASSERT_TRUE(id.ok()) << id.status();
  EXPECT_EQ(id->time_ms(), kVectorMs);
  EXPECT_EQ(absl::FormatTime(id->time(), absl::UTCTimeZone()), "2022-02-22T19:22:22+00:00");
  EXPECT_EQ(id->ToString(), kVector);
}

TEST(CallId, MintsTheVectorOfRfc9562) {
  EXPECT_EQ(CallId::Mint(absl::FromUnixMillis(kVectorMs), kVectorRandom).ToString(), kVector);
}

TEST(CallId, SetsVersionAndVariantWhateverTheRandomBytes) {
  for (const uint8_t fill : {0x00, 0xff}) {
    const std::string random(10, static_cast<char>(fill));
    const CallId id = CallId::Mint(absl::FromUnixMillis(kVectorMs), AsBytes(random));
    EXPECT_TRUE(CallId::Parse(id.ToString()).ok()) << id.ToString();
    EXPECT_EQ(id.time_ms(), kVectorMs);
  }
}

TEST(CallId, ReadsUpperCase) {
  const auto id = CallId::Parse(absl::AsciiStrToUpper(kVector));
  ASSERT_TRUE(id.ok()) << id.status();
  EXPECT_EQ(id->ToString(), kVector);
}

TEST(CallId, RefusesWhatIsNoUuid) {
  const std::string good = kVector;
  EXPECT_FALSE(CallId::Parse("").ok());
  EXPECT_FALSE(CallId::Parse(good + "0").ok());
  EXPECT_FALSE(CallId::Parse(good.substr(1)).ok());
  EXPECT_FALSE(CallId::Parse("{17f22e2-79b0-7cc3-98c4-dc0c0c07398}").ok());
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = bad[i] == '-' ? '0' : 'g';
    EXPECT_EQ(CallId::Parse(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(CallId, RefusesOtherVersionsAndVariants) {
  for (const char version : std::string("012345689abcdef")) {
    std::string text = kVector;
    text[14] = version;
    EXPECT_THAT(std::string(CallId::Parse(text).status().message()), HasSubstr("version"));
  }
  for (const char variant : std::string("01234567cdef")) {
    std::string text = kVector;
    text[19] = variant;
    EXPECT_THAT(std::string(CallId::Parse(text).status().message()), HasSubstr("variant"));
  }
}

TEST(CallId, DoesNotRepeatItsInputInAnError) {
  const auto status = CallId::Parse("secret-secret-secret-secret-secret-x").status();
  EXPECT_EQ(status.message().find("secret"), std::string::npos);
}

TEST(CallId, OrdersByTime) {
  const std::string high(10, '\xff'), low(10, '\0');
  const CallId earlier = CallId::Mint(absl::FromUnixMillis(kVectorMs), AsBytes(high));
  const CallId later = CallId::Mint(absl::FromUnixMillis(kVectorMs + 1), AsBytes(low));
  EXPECT_LT(earlier, later);
  EXPECT_LT(AsText(earlier.bytes()), AsText(later.bytes())) << "keys order as ids do";
}

TEST(CallId, SurvivesItsStoredBytes) {
  const CallId id = *CallId::Parse(kVector);
  EXPECT_EQ(CallId::FromBytes(id.bytes()), id);
  EXPECT_DEATH(CallId::FromBytes(id.bytes().subspan(1)), "16 bytes");
}

TEST(CallId, HashesAsItCompares) {
  const CallId id = *CallId::Parse(kVector);
  EXPECT_TRUE(
      absl::VerifyTypeImplementsAbslHashCorrectly({CallId(), id, CallId::FromBytes(id.bytes())}));
}

}  // namespace
}  // namespace mayfly
