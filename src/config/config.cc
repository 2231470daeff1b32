#include "config/config.h"

#include <errno.h>
#include <filesystem>
#include <fstream>
#include <string.h>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include <toml++/toml.h>

#include "base/error.h"
#include "config/findings.h"
#include "config/reader.h"
#include "config/rules.h"

namespace mayfly {
namespace {

constexpr size_t kFileBytesMax = 1 << 20;

absl::Status CannotRead(const std::string& path, int error) {
  const std::string text =
      absl::StrCat("the configuration file ", path, " cannot be read: ", strerrordesc_np(error));
  return error == ENOENT ? absl::NotFoundError(text) : absl::UnavailableError(text);
}

// Not base/file_system.h, which opens files for writing; a file in /etc may not allow that.
absl::StatusOr<std::string> ReadText(const std::string& path) {
  std::error_code error;
  const bool is_directory = std::filesystem::is_directory(path, error);
  if (error) return CannotRead(path, error.value());
  if (is_directory) return CannotRead(path, EISDIR);
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return CannotRead(path, errno);
  std::string text(kFileBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return CannotRead(path, errno);
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kFileBytesMax) {
    return absl::OutOfRangeError(absl::StrCat("the configuration file ", path, " is larger than ",
                                              kFileBytesMax, " bytes, the limit"));
  }
  return text;
}

absl::StatusOr<Config> Parse(absl::string_view text, const std::string& directory) {
  toml::table document;
  try {
    document = toml::parse(std::string_view(text.data(), text.size()));
  } catch (const toml::parse_error& error) {
    const std::string_view description = error.description();
    return MakeError(absl::StatusCode::kInvalidArgument, Reason::kFieldInvalid,
                     absl::StrCat("line ", error.source().begin.line, ": not TOML: ",
                                  absl::string_view(description.data(), description.size())));
  }
  Findings findings;
  Config config = ReadConfig(document, directory, &findings);
  CheckRules(config, &findings);
  RETURN_IF_ERROR(findings.ToStatus());
  return config;
}

}  // namespace

Config::TenantRetention Config::RetentionFor(absl::string_view tenant) const {
  const auto own = retention.tenants.find(tenant);
  if (own != retention.tenants.end()) return own->second;
  return {.default_ttl = retention.default_ttl,
          .max_ttl = retention.max_ttl,
          .tombstone_ttl = retention.tombstone_ttl};
}

Config::TenantLimits Config::LimitsFor(absl::string_view tenant) const {
  const auto own = limits.tenants.find(tenant);
  if (own != limits.tenants.end()) return own->second;
  return {.live_calls_max = limits.live_calls_max,
          .live_bytes_max = limits.live_bytes_max,
          .operations_per_second_max = limits.operations_per_second_max,
          .claims_max = claims.outstanding_max};
}

absl::StatusOr<Config> LoadConfig(const std::string& path) {
  auto text = ReadText(path);
  RETURN_IF_ERROR(text.status());
  auto config = Parse(*text, std::filesystem::absolute(path).parent_path().string());
  if (config.ok()) return config;
  // The file before each of its mistakes, as compilers do it.
  const std::string before = absl::StrCat(path, ": ");
  return MakeError(config.status().code(), Reason::kFieldInvalid,
                   absl::StrCat(before, absl::StrReplaceAll(config.status().message(),
                                                            {{"\n", "\n" + before}})));
}

absl::StatusOr<Config> ParseConfig(absl::string_view text) { return Parse(text, ""); }

}  // namespace mayfly
