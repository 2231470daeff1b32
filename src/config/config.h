// The configuration of mayflyd: one TOML file, validated whole before anything starts.
//
// A Config is plain values. What stands here are the defaults; ranges and units are in
// config/setting.cc, rules between settings in config/rules.cc, and deploy/mayfly.toml explains
// every setting to an operator (a test keeps that file and this one equal).
//
//   absl::StatusOr<Config> config = LoadConfig("/etc/mayfly/mayfly.toml");
//   if (!config.ok()) return Refuse(config.status());  // every mistake, one a line
//   config->RetentionFor("acme").max_ttl;
//
// Once loaded it never changes, so any thread may read it.
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
    std::string listen = "127.0.0.1:7443";  // host:port; port 0 takes a free one
    std::string port_file;                  // empty: the bound port is not written anywhere
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
    uint64_t memtable_bytes = 256 << 20;     // of all shards together
    uint64_t disk_reserve_bytes = 64 << 20;  // beside the store's own needs
    uint64_t index_calls_max = 1'000'000;
    bool allow_unsafe_filesystem = false;
    bool accept_data_loss = false;
  };

  // Exactly one of the two is not empty.
  struct Keys {
    std::string root_key_file;
    std::string root_key_credential;  // a file's name in $CREDENTIALS_DIRECTORY
  };

  // What holds for one tenant; its own [retention.tenants.NAME] or else [retention].
  struct TenantRetention {
    absl::Duration default_ttl;
    absl::Duration max_ttl;
    absl::Duration tombstone_ttl;
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
    uint64_t outstanding_max = 10'000;  // per tenant; LimitsFor gives a tenant's own
  };

  // What holds for one tenant; 0 is no limit, except for claims_max.
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
    // Of payloads that clients have asked for and not read: not below message_bytes_max.
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

// Reads the file at `path`; relative paths in it become absolute, from the file's own directory.
// NOT_FOUND, UNAVAILABLE or OUT_OF_RANGE when the file cannot be read or is above 1 MiB, otherwise
// the errors of ParseConfig.
absl::StatusOr<Config> LoadConfig(const std::string& path);

// Reads a configuration from `text` and leaves its paths as they are. INVALID_ARGUMENT with all
// mistakes, in the order of the file, one a line: "line 12: storage.shards is 65, range is 1 to 64
// shards". Only a mistake in the TOML itself hides those behind it.
absl::StatusOr<Config> ParseConfig(absl::string_view text);

}  // namespace mayfly
