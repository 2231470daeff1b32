// The table of settings, row by row.
#include "config/setting.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/tenant.h"
#include "config/setting_text.h"

namespace mayfly {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// The four values around a range, as TOML.
struct Edges {
  std::string below;
  std::string min;
  std::string max;
  std::string above;
};

struct EdgesOf {
  Edges operator()(const CountSetting& type) const {
    return {Below(type.min), absl::StrCat(type.min), absl::StrCat(type.max),
            absl::StrCat(type.max + 1)};
  }
  Edges operator()(const BytesSetting& type) const {
    return {Below(type.min), absl::StrCat("\"", type.min, "B\""),
            absl::StrCat("\"", type.max, "B\""), absl::StrCat(type.max + 1)};
  }
  Edges operator()(const DurationSetting& type) const {
    const auto text = [](absl::Duration duration) {
      return absl::StrCat("\"", absl::FormatDuration(duration), "\"");
    };
    return {text(type.min - absl::Milliseconds(1)), text(type.min), text(type.max),
            text(type.max + absl::Milliseconds(1))};
  }
  template <typename Other>
  Edges operator()(const Other&) const {
    return {};
  }
  static std::string Below(uint64_t min) { return absl::StrCat(static_cast<int64_t>(min) - 1); }
};

std::string ErrorOf(const Setting& setting, absl::string_view value) {
  return std::string(ParseConfig(Document().Set(setting.section, setting.name, value).ToToml())
                         .status()
                         .message());
}

// A value, as TOML, that is not the default and that goes with the defaults of the others.
struct Sample {
  std::string operator()(const BooleanSetting&) const { return "true"; }
  std::string operator()(const CountSetting&) const { return "17"; }
  std::string operator()(const BytesSetting&) const { return "\"17MiB\""; }
  std::string operator()(const DurationSetting&) const { return "\"47s\""; }
  std::string operator()(const TextSetting&) const { return "\"other.1\""; }
  std::string operator()(const PathSetting&) const { return "\"other/1\""; }
  std::string operator()(const ChoiceSetting& type) const {
    return absl::StrCat("\"", type.names[1], "\"");
  }
};

std::string SampleOf(const Setting& setting) {
  const std::map<std::string, std::string> kExceptions = {
      {"server.listen", "\"[::1]:0\""},
      {"server.connection_age_max", "\"47m\""},
      {"server.metadata_bytes_max", "\"17KiB\""},
      {"retention.tombstone_ttl", "\"47m\""},
      {"claims.lease_total_max", "\"47m\""},
      {"limits.unsent_bytes_max", "\"97MiB\""},
      {"limits.tenant_unsent_bytes_max", "\"97MiB\""},
      {"limits.connection_unsent_bytes_max", "\"97MiB\""},
  };
  const auto exception = kExceptions.find(setting.FullName());
  return exception != kExceptions.end() ? exception->second : std::visit(Sample(), setting.type);
}

TEST(Settings, AreRefusedJustOutsideTheirRangeAndTakenAtItsEnds) {
  int ranges = 0;
  for (const Setting& setting : Settings()) {
    const std::string range = DescribeRange(setting);
    if (range.empty()) continue;
    ++ranges;
    SCOPED_TRACE(setting.FullName());
    const Edges edges = std::visit(EdgesOf(), setting.type);
    for (const std::string& outside : {edges.below, edges.above}) {
      EXPECT_THAT(
          ErrorOf(setting, outside),
          HasSubstr(absl::StrCat(setting.FullName(), " is ", outside, ", range is ", range)));
    }
    for (const std::string& inside : {edges.min, edges.max}) {
      EXPECT_THAT(ErrorOf(setting, inside), Not(HasSubstr("range is"))) << inside;
      EXPECT_THAT(ErrorOf(setting, inside), Not(HasSubstr("expected"))) << inside;
    }
  }
  EXPECT_GT(ranges, 20);
}

TEST(Settings, HoldWhatWasGivenAndNothingElseChanges) {
  for (const Setting& setting : Settings()) {
    SCOPED_TRACE(setting.FullName());
    const std::string value = SampleOf(setting);
    ASSERT_NE(ValueAsToml(setting, Config()), value) << "nothing would show";
    Document document;
    document.Set(setting.section, setting.name, value);
    // Beside these, the rules between settings leave the default of no other.
    if (setting.name == "root_key_credential") document.Set("keys", "root_key_file", "\"\"");
    if (setting.name == "max_ttl") document.Set("retention", "default_ttl", "\"1s\"");
    const absl::StatusOr<Config> config = ParseConfig(document.ToToml());
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(ValueAsToml(setting, *config), value);
    for (const Setting& other : Settings()) {
      if (document.Has(other.section, other.name)) continue;
      EXPECT_EQ(ValueAsToml(other, *config), ValueAsToml(other, Config())) << other.FullName();
    }
  }
}

TEST(Bytes, AreReadWithBinaryUnits) {
  const struct {
    absl::string_view text;
    uint64_t bytes;
  } kCases[] = {
      {"0B", 0},
      {"1B", 1},
      {"64KiB", 65536},
      {"64MiB", 67108864},
      {"1GiB", 1073741824},
      {"16777215TiB", 16777215ull << 40},
  };
  for (const auto& [text, bytes] : kCases) {
    uint64_t read = 7;
    EXPECT_TRUE(ParseBytes(text, &read)) << text;
    EXPECT_EQ(read, bytes) << text;
  }
}

TEST(Bytes, AreRefusedWithoutOrWithAnotherUnitOrTooLarge) {
  for (absl::string_view text :
       {"", "64", "MiB", "64MB", "64mib", "64 MiB", " 64MiB", "-1MiB", "+1MiB", "1.5GiB", "1MiBB",
        "16777216TiB", "99999999999999999999B"}) {
    uint64_t read = 7;
    EXPECT_FALSE(ParseBytes(text, &read)) << text;
    EXPECT_EQ(read, 7) << text;
  }
}

TEST(Bytes, AreShownInTheLargestExactUnit) {
  EXPECT_EQ(FormatBytes(0), "0");
  EXPECT_EQ(FormatBytes(1), "1B");
  EXPECT_EQ(FormatBytes(1023), "1023B");
  EXPECT_EQ(FormatBytes(1024), "1KiB");
  EXPECT_EQ(FormatBytes(63 << 20), "63MiB");
  EXPECT_EQ(FormatBytes((63 << 20) + 1), "66060289B");
}

TEST(TenantName, IsADnsLabel) {
  EXPECT_TRUE(IsTenantName("a"));
  EXPECT_TRUE(IsTenantName("0"));
  EXPECT_TRUE(IsTenantName("acme-2"));
  EXPECT_TRUE(IsTenantName("a-"));
  EXPECT_TRUE(IsTenantName(std::string(63, 'z')));
  for (absl::string_view name : {"", "-a", "A", "a_b", "a.b", "a/b", "a b", "\xc3\xa4", "a\n"}) {
    EXPECT_FALSE(IsTenantName(name)) << name;
  }
  EXPECT_FALSE(IsTenantName(std::string(64, 'z')));
  EXPECT_FALSE(IsTenantName(absl::string_view("a\0", 2)));
}

}  // namespace
}  // namespace mayfly
