// A Setting describes one key of the configuration file: where it stands, what it takes, and the
// field of Config that it sets. Settings() is the table of all of them; the reader, the error
// texts and the test of deploy/mayfly.toml all work from it.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

#include "config/config.h"

namespace mayfly {

// The field of a Config that a setting sets.
template <typename T>
using Field = T& (*)(Config&);

struct BooleanSetting {
  Field<bool> field;
};

struct CountSetting {
  Field<uint64_t> field;
  uint64_t min;
  uint64_t max;
  absl::string_view unit;  // "calls"
};

// In the file: a whole number of bytes, or text such as "64MiB".
struct BytesSetting {
  Field<uint64_t> field;
  uint64_t min;
  uint64_t max;
};

// In the file: text such as "1h30m".
struct DurationSetting {
  Field<absl::Duration> field;
  absl::Duration min;
  absl::Duration max;
};

struct TextSetting {
  Field<std::string> field;
  bool (*accepts)(absl::string_view text);
  absl::string_view wants;  // what `accepts` accepts, in words
};

struct PathSetting {
  Field<std::string> field;
};

struct ChoiceSetting {
  absl::Span<const absl::string_view> names;
  int (*get)(const Config& config);
  void (*set)(Config& config, int index);
};

struct Setting {
  absl::string_view section;
  absl::string_view name;
  std::variant<BooleanSetting, CountSetting, BytesSetting, DurationSetting, TextSetting,
               PathSetting, ChoiceSetting>
      type;
  bool required = false;
  // What a tenant's own value is called in [`tenant_section`.tenants.NAME]; empty when tenants
  // have none.
  absl::string_view tenant_section = {};
  absl::string_view tenant_name = {};
  // False where a slip of the hand could put a key into the file: errors do not repeat the value.
  bool echo = true;

  std::string FullName() const;
};

absl::Span<const Setting> Settings();

// What a setting takes, for an error text: "a whole number of shards, 1 to 64".
std::string DescribeWants(const Setting& setting);

// "1 to 64 shards", "1s to 24h"; empty for a setting without a range.
std::string DescribeRange(const Setting& setting);

// "64MiB" when that is exact, "100B" when no larger unit is; ParseBytes reads it back.
std::string FormatBytes(uint64_t bytes);

// False unless `text` is digits and one of B, KiB, MiB, GiB, TiB, and fits.
bool ParseBytes(absl::string_view text, uint64_t* bytes);

}  // namespace mayfly
