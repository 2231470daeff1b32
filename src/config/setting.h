// A Setting describes one key of the configuration file: its section and name, its values, and the
// field of Config that it sets. Settings() is the table of all settings. The reader, the error
// texts and the test of deploy/mayfly.toml use it.
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

// In the file: an integer (bytes), or a string such as "64MiB".
struct BytesSetting {
  Field<uint64_t> field;
  uint64_t min;
  uint64_t max;
};

// In the file: a string such as "1h30m".
struct DurationSetting {
  Field<absl::Duration> field;
  absl::Duration min;
  absl::Duration max;
};

struct TextSetting {
  Field<std::string> field;
  bool (*accepts)(absl::string_view text);
  absl::string_view wants;  // describes the values that `accepts` accepts
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
  // The name of a tenant's own value in [`tenant_section`.tenants.NAME]; empty if tenants have
  // none.
  absl::string_view tenant_section = {};
  absl::string_view tenant_name = {};
  // False if a mistake could put a key into the file: errors then do not repeat the value.
  bool echo = true;

  std::string FullName() const;
};

absl::Span<const Setting> Settings();

// Describes the values of a setting for an error text: "an integer, 1 to 64 shards".
std::string DescribeWants(const Setting& setting);

// "1 to 64 shards", "1s to 24h"; empty for a setting without a range.
std::string DescribeRange(const Setting& setting);

// "64MiB" if that is exact, "100B" if no larger unit is; ParseBytes reads it back.
std::string FormatBytes(uint64_t bytes);

// Returns false unless `text` is digits followed by B, KiB, MiB, GiB or TiB, and fits.
bool ParseBytes(absl::string_view text, uint64_t* bytes);

}  // namespace mayfly
