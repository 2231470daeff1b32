#include "config/rules.h"

#include <filesystem>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "config/setting.h"

namespace mayfly {
namespace {

struct Bound {
  std::string setting;
  absl::Duration value;
};

bool AnyRefused(const Findings& findings, absl::string_view a, absl::string_view b) {
  return findings.WasRefused(a) || findings.WasRefused(b);
}

// Reports `setting`, on the line of `other` if only that one is in the file.
void RefuseBecauseOf(absl::string_view setting, absl::string_view other,
                     absl::string_view complaint, Findings* findings) {
  const uint32_t line = findings->LineOf(setting);
  findings->RefuseAt(line != 0 ? line : findings->LineOf(other), setting, complaint);
}

std::string Origin(absl::string_view setting, const Findings& findings) {
  return findings.WasGiven(setting) ? "" : " by default";
}

void RequireAtMost(const Bound& value, const Bound& limit, Findings* findings) {
  if (value.value <= limit.value) return;
  if (AnyRefused(*findings, value.setting, limit.setting)) return;
  RefuseBecauseOf(
      value.setting, limit.setting,
      absl::StrCat("is ", absl::FormatDuration(value.value), Origin(value.setting, *findings),
                   ", limit is ", limit.setting, ", ", absl::FormatDuration(limit.value)),
      findings);
}

// A tombstone must last longer than PutInputs accepts the call's id, on either side of now.
// Otherwise a late retry could revive an ended call.
void RequireTombstoneTtl(const Bound& tombstone_ttl, absl::Duration id_window, Findings* findings) {
  constexpr absl::string_view kIdWindow = "limits.id_window";
  const absl::Duration min = 2 * id_window + absl::Minutes(1);
  if (tombstone_ttl.value >= min) return;
  if (AnyRefused(*findings, tombstone_ttl.setting, kIdWindow)) return;
  RefuseBecauseOf(tombstone_ttl.setting, kIdWindow,
                  absl::StrCat("is ", absl::FormatDuration(tombstone_ttl.value),
                               Origin(tombstone_ttl.setting, *findings), ", minimum is 2 x ",
                               kIdWindow, " + 1m, ", absl::FormatDuration(min)),
                  findings);
}

void CheckRetention(const Config& config, Findings* findings) {
  const Config::Retention& retention = config.retention;
  const Bound max_ttl = {"retention.max_ttl", retention.max_ttl};
  RequireAtMost({"retention.default_ttl", retention.default_ttl}, max_ttl, findings);
  RequireTombstoneTtl({"retention.tombstone_ttl", retention.tombstone_ttl}, config.limits.id_window,
                      findings);
  for (const auto& [name, tenant] : retention.tenants) {
    const std::string table = absl::StrCat("retention.tenants.", name);
    const Bound tenant_max_ttl = {absl::StrCat(table, ".max_ttl"), tenant.max_ttl};
    RequireAtMost(tenant_max_ttl, max_ttl, findings);
    RequireAtMost({absl::StrCat(table, ".default_ttl"), tenant.default_ttl}, tenant_max_ttl,
                  findings);
    const std::string tombstone_ttl = absl::StrCat(table, ".tombstone_ttl");
    // An inherited value was checked above.
    if (findings->WasGiven(tombstone_ttl)) {
      RequireTombstoneTtl({tombstone_ttl, tenant.tombstone_ttl}, config.limits.id_window, findings);
    }
  }
}

void CheckClaims(const Config::Claims& claims, Findings* findings) {
  const Bound lease_max = {"claims.lease_max", claims.lease_max};
  RequireAtMost({"claims.lease_default", claims.lease_default}, lease_max, findings);
  RequireAtMost(lease_max, {"claims.lease_total_max", claims.lease_total_max}, findings);
}

// Compares the paths lexically; links are checked when the files are opened.
bool IsInside(const std::string& path, const std::string& directory) {
  const auto absolute = [](const std::string& text) {
    return (std::filesystem::path("/") / text / "").lexically_normal();
  };
  const std::filesystem::path inner = absolute(path);
  const std::filesystem::path outer = absolute(directory);
  // Both end in a separator, so that /data does not hold /database.
  return inner.native().rfind(outer.native(), 0) == 0;
}

void CheckKeys(const Config& config, Findings* findings) {
  constexpr absl::string_view kFile = "keys.root_key_file";
  constexpr absl::string_view kCredential = "keys.root_key_credential";
  if (AnyRefused(*findings, kFile, kCredential) || findings->WasRefused("keys")) return;
  const Config::Keys& keys = config.keys;
  if (keys.root_key_file.empty() && keys.root_key_credential.empty()) {
    findings->RefuseAt(
        findings->LineOf("keys"), kFile,
        absl::StrCat("is missing, expected a path in quotes, or ", kCredential, " instead"));
    return;
  }
  if (!keys.root_key_file.empty() && !keys.root_key_credential.empty()) {
    findings->Refuse(kCredential,
                     absl::StrCat("is set in addition to ", kFile, ", expected one of them"));
    return;
  }
  // A copy of the data directory must not be readable by itself.
  const std::string& data_dir = config.storage.data_dir;
  if (!keys.root_key_file.empty() && !data_dir.empty() && IsInside(keys.root_key_file, data_dir)) {
    findings->Refuse(kFile, "is inside storage.data_dir, expected a path outside it");
  }
}

// A single message must always fit while nothing else is held.
void CheckUnsentBytes(const Config::Limits& limits, Findings* findings) {
  constexpr absl::string_view kMessage = "limits.message_bytes_max";
  const std::pair<absl::string_view, uint64_t> bounds[] = {
      {"limits.unsent_bytes_max", limits.unsent_bytes_max},
      {"limits.tenant_unsent_bytes_max", limits.tenant_unsent_bytes_max},
      {"limits.connection_unsent_bytes_max", limits.connection_unsent_bytes_max},
  };
  for (const auto& [setting, bytes] : bounds) {
    if (bytes >= limits.message_bytes_max || AnyRefused(*findings, setting, kMessage)) continue;
    RefuseBecauseOf(
        setting, kMessage,
        absl::StrCat("is ", FormatBytes(bytes), Origin(setting, *findings), ", minimum is ",
                     kMessage, ", ", FormatBytes(limits.message_bytes_max)),
        findings);
  }
}

}  // namespace

void CheckRules(const Config& config, Findings* findings) {
  CheckKeys(config, findings);
  CheckRetention(config, findings);
  CheckClaims(config.claims, findings);
  CheckUnsentBytes(config.limits, findings);
}

}  // namespace mayfly
