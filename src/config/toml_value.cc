#include "config/toml_value.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace mayfly {
namespace {

constexpr size_t kShownBytesMax = 64;

std::string Shorten(absl::string_view text) {
  return absl::StrCat(absl::Utf8SafeCEscape(text.substr(0, kShownBytesMax)),
                      text.size() > kShownBytesMax ? "..." : "");
}

struct Take {
  const toml::node& node;
  const std::string& directory;
  Config& config;

  Verdict operator()(const BooleanSetting& type) const {
    const auto* value = node.as_boolean();
    if (value == nullptr) return Verdict::kWrongType;
    type.field(config) = value->get();
    return Verdict::kTaken;
  }

  Verdict operator()(const CountSetting& type) const {
    return node.is_integer() ? TakeInteger(type) : Verdict::kWrongType;
  }

  Verdict operator()(const BytesSetting& type) const {
    if (node.is_integer()) return TakeInteger(type);
    uint64_t bytes = 0;
    const auto* text = node.as_string();
    if (text == nullptr || !ParseBytes(ToAbsl(text->get()), &bytes)) return Verdict::kWrongType;
    return TakeWithin(type, bytes);
  }

  Verdict operator()(const DurationSetting& type) const {
    absl::Duration duration;
    const auto* text = node.as_string();
    if (text == nullptr || !absl::ParseDuration(ToAbsl(text->get()), &duration)) {
      return Verdict::kWrongType;
    }
    return TakeWithin(type, duration);
  }

  Verdict operator()(const TextSetting& type) const {
    const auto* text = node.as_string();
    if (text == nullptr || !type.accepts(ToAbsl(text->get()))) return Verdict::kWrongType;
    type.field(config) = text->get();
    return Verdict::kTaken;
  }

  Verdict operator()(const PathSetting& type) const {
    const auto* text = node.as_string();
    // The kernel would treat a NUL as the end of the path.
    if (text == nullptr || text->get().find('\0') != std::string::npos) return Verdict::kWrongType;
    const bool resolve = !directory.empty() && !text->get().empty();
    type.field(config) =
        resolve ? (std::filesystem::path(directory) / text->get()).lexically_normal().string()
                : text->get();
    return Verdict::kTaken;
  }

  Verdict operator()(const ChoiceSetting& type) const {
    const auto* text = node.as_string();
    if (text == nullptr) return Verdict::kWrongType;
    const auto found = std::find(type.names.begin(), type.names.end(), ToAbsl(text->get()));
    if (found == type.names.end()) return Verdict::kWrongType;
    type.set(config, static_cast<int>(found - type.names.begin()));
    return Verdict::kTaken;
  }

  template <typename Type>
  Verdict TakeInteger(const Type& type) const {
    const int64_t value = node.as_integer()->get();
    return value < 0 ? Verdict::kOutOfRange : TakeWithin(type, static_cast<uint64_t>(value));
  }

  template <typename Type, typename Value>
  Verdict TakeWithin(const Type& type, Value value) const {
    if (value < type.min || value > type.max) return Verdict::kOutOfRange;
    type.field(config) = value;
    return Verdict::kTaken;
  }
};

}  // namespace

std::string ShowKey(const toml::key& key) { return Shorten(ToAbsl(key.str())); }

std::string ShowType(const toml::node& node) {
  if (node.is_table()) return "a table";
  if (node.is_array()) return "an array";
  if (node.is_string()) return "a string";
  if (node.is_boolean()) return "a boolean";
  if (node.is_number()) return "a number";
  return "a date or time";
}

std::string ShowValue(const toml::node& node) {
  if (const auto* text = node.as_string()) {
    return absl::StrCat("\"", Shorten(ToAbsl(text->get())), "\"");
  }
  if (const auto* integer = node.as_integer()) return absl::StrCat(integer->get());
  if (const auto* boolean = node.as_boolean()) return boolean->get() ? "true" : "false";
  if (const auto* real = node.as_floating_point()) {
    // "4.0", not "4", because the decimal point is the mistake.
    const bool looks_whole = std::isfinite(real->get()) && real->get() == std::floor(real->get());
    return absl::StrCat(real->get(), looks_whole ? ".0" : "");
  }
  return ShowType(node);
}

Verdict TakeValue(const Setting& setting, const toml::node& node, const std::string& directory,
                  Config* config) {
  return std::visit(Take{node, directory, *config}, setting.type);
}

}  // namespace mayfly
