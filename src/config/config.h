// The configuration of mayflyd: one TOML file, validated completely before anything starts.
//
// A Config consists of plain values. This file has the defaults; config/setting.cc has ranges and
// units, config/rules.cc has rules between settings, and deploy/mayfly.toml documents every setting
// for operators (a test compares that file with this one).
//
//   absl::StatusOr<Config> config = LoadConfig("/etc/mayfly/mayfly.toml");
//   if (!config.ok()) return Refuse(config.status());  // every mistake, one per line
//   config->RetentionFor("acme").max_ttl;
//
// A loaded Config never changes, so any thread may read it.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace mayfly {

struct Config {
  enum class Durability { kSync, kRelaxed };
  // In the order of spdlog::level.
  enum class LogLevel { kTrace, kDebug, kInfo, kWarning, kError, kCritical };

  struct Server {
    std::string listen = "127.0.0.1:7443";  // host:port; port 0 selects a free one
    std::string port_file;                  // empty: the port is not written to a file
    uint64_t worker_threads = 0;            // 0: one per core
    bool reflection = false;
    absl::Duration drain_timeout = absl::Seconds(30);
    absl::Duration handshake_timeout = absl::Seconds(10);
    uint64_t connections_max = 8192;
    uint64_t connections_per_address_max = 4096;
    uint64_t connections_per_tenant_max = 4096;
    absl::Duration keepalive_ping_min_interval = absl::Seconds(10);
    absl::Duration connection_age_max = absl::Hours(1);
    absl::Duration connection_age_grace = absl::Minutes(5);
    uint64_t streams_per_connection_max = 256;
    uint64_t metadata_bytes_max = 64 << 10;
  };

  struct Tls {
    std::string ca_file;
    std::string certificate_file;
    std::string key_file;
    std::string trust_domain = "mayfly.local";
    absl::Duration reload_interval = absl::Seconds(10);
  };

  struct Storage {
    std::string data_dir;
    Durability durability = Durability::kSync;
    uint64_t shards = 1;
    uint64_t memtable_bytes = 256 << 20;     // in total for all shards
    uint64_t disk_reserve_bytes = 64 << 20;  // in addition to the store's own needs
    uint64_t index_calls_max = 1'000'000;
    bool allow_unsafe_filesystem = false;
    bool accept_data_loss = false;
  };

  // Exactly one of the two is not empty.
  struct Keys {
    std::string root_key_file;
    std::string root_key_credential;  // a file's name in $CREDENTIALS_DIRECTORY
  };

  // The settings for one tenant: [retention.tenants.NAME], else [retention].
  struct TenantRetention {
    absl::Duration default_ttl;
    absl::Duration max_ttl;
    absl::Duration tombstone_ttl;

    friend bool operator==(const TenantRetention&, const TenantRetention&) = default;
  };

  struct Retention {
    absl::Duration default_ttl = absl::Hours(24);  // not above max_ttl
    absl::Duration max_ttl = absl::Hours(24);
    absl::Duration tombstone_ttl = absl::Minutes(15);
    absl::Duration clock_jump_grace = absl::Minutes(15);
    uint64_t sweep_batch_calls = 256;
    std::map<std::string, TenantRetention, std::less<>> tenants;
  };

  struct Claims {
    absl::Duration lease_default = absl::Seconds(30);
    absl::Duration lease_max = absl::Minutes(10);
    absl::Duration lease_total_max = absl::Hours(1);  // with all renewals
    absl::Duration wait_max = absl::Seconds(55);
    uint64_t outstanding_max = 10'000;  // per tenant; LimitsFor returns a tenant's own value
  };

  // The limits for one tenant. 0 means no limit, except for claims_max.
  struct TenantLimits {
    uint64_t live_calls_max;
    uint64_t live_bytes_max;
    uint64_t operations_per_second_max;
    uint64_t claims_max;
  };

  struct Limits {
    absl::Duration id_window = absl::Minutes(5);
    uint64_t payload_bytes_max = uint64_t{1} << 30;
    uint64_t message_bytes_max = 64 << 20;
    // Payloads that clients have requested but not read; not below message_bytes_max.
    uint64_t unsent_bytes_max = 512 << 20;
    uint64_t tenant_unsent_bytes_max = 256 << 20;
    uint64_t connection_unsent_bytes_max = 128 << 20;
    uint64_t batch_items_max = 512;
    uint64_t stream_subscriptions_max = 65'536;
    uint64_t uploads_max = 1'000;  // per tenant
    absl::Duration upload_idle_timeout = absl::Minutes(10);
    uint64_t live_calls_max = 0;
    uint64_t live_bytes_max = 0;
    uint64_t operations_per_second_max = 0;
    std::map<std::string, TenantLimits, std::less<>> tenants;
  };

  struct Log {
    LogLevel level = LogLevel::kInfo;
    std::string file;  // empty: standard error
  };

  TenantRetention RetentionFor(absl::string_view tenant) const;
  TenantLimits LimitsFor(absl::string_view tenant) const;

  Server server;
  Tls tls;
  Storage storage;
  Keys keys;
  Retention retention;
  Claims claims;
  Limits limits;
  Log log;
};

// Reads the file at `path`. Relative paths in it are resolved against the file's directory.
// NOT_FOUND, UNAVAILABLE or OUT_OF_RANGE if the file cannot be read or is larger than 1 MiB,
// otherwise the errors of ParseConfig with the path before each line.
absl::StatusOr<Config> LoadConfig(const std::string& path);

// Parses a configuration and leaves its paths unchanged. INVALID_ARGUMENT with all mistakes, in the
// order of the file, one per line: "line 12: storage.shards is 65, range is 1 to 64 shards". Only a
// syntax error in the TOML hides the mistakes after it.
absl::StatusOr<Config> ParseConfig(absl::string_view text);

}  // namespace mayfly
