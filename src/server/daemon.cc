#include "server/daemon.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <unistd.h>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/file_system.h"
#include "base/secret_bytes.h"
#include "base/version.h"
#include "keys/root_key.h"
#include "rpc/server.h"
#include "server/preflight.h"
#include "server/process.h"
#include "storage/local/disk_advice.h"
#include "storage/local/local_storage.h"
#include "store/call_store.h"

namespace mayfly {
namespace {

// After a drain begins, clients that have just received outputs have this long to ack them.
constexpr absl::Duration kAckGrace = absl::Seconds(1);

StorageLog StorageLogTo(Log* log) {
  return [log](StorageLogLevel level, absl::string_view text) {
    Config::LogLevel written = Config::LogLevel::kInfo;
    if (level == StorageLogLevel::kWarning) written = Config::LogLevel::kWarning;
    if (level == StorageLogLevel::kError) written = Config::LogLevel::kError;
    log->Write(written, "storage", {{"text", text}});
  };
}

absl::Duration LongestTombstoneTtl(const Config& config) {
  absl::Duration longest = config.retention.tombstone_ttl;
  for (const auto& [name, tenant] : config.retention.tenants) {
    longest = std::max(longest, tenant.tombstone_ttl);
  }
  return longest;
}

absl::StatusOr<std::unique_ptr<LocalStorage>> OpenStorage(const Config& config,
                                                          SecretBytes root_key, Clock* clock,
                                                          Log* log) {
  LocalStorageOptions options;
  options.data_dir = config.storage.data_dir;
  options.root_key = std::move(root_key);
  options.now_ms = absl::ToUnixMillis(clock->Read().wall);
  options.memtable_bytes = config.storage.memtable_bytes;
  options.index_calls_max = config.storage.index_calls_max;
  options.disk_reserve_bytes = config.storage.disk_reserve_bytes;
  options.tombstone_ttl_ms_max = absl::ToInt64Milliseconds(LongestTombstoneTtl(config));
  options.allow_unsafe_filesystem = config.storage.allow_unsafe_filesystem;
  options.accept_data_loss = config.storage.accept_data_loss;
  options.log = StorageLogTo(log);
  auto storage = LocalStorage::Open(std::move(options));
  if (!storage.ok() && SpeaksOfFullDisk(storage.status().message())) {
    return absl::FailedPreconditionError(
        absl::StrCat(storage.status().message(), ": ",
                     FullDiskAdvice(config.storage.data_dir, DiskSettingsOf(config))));
  }
  if (!storage.ok() || config.keys.root_key_file.empty()) return storage;
  RETURN_IF_ERROR(CheckOutside(config.keys.root_key_file, config.storage.data_dir));
  return storage;
}

// Payloads are counted by their slots: the rows of usage know nothing of what damage has taken. Damage
// is what the start has met: rows that cannot be read, and slots with a bad checksum.
void LogRecovered(LocalStorage* storage, Log* log) {
  const auto tenants = storage->Tenants();
  const auto usage = storage->LoadUsage();
  if (!tenants.ok() || !usage.ok()) return;
  int64_t live_calls = 0;
  for (const TenantUsage& tenant : *usage) live_calls += tenant.live_calls;
  log->Write(Config::LogLevel::kInfo, "recovered",
             {{"boot", static_cast<int64_t>(storage->boot_number())},
              {"tenants", static_cast<int64_t>(tenants->size())},
              {"live_calls", live_calls},
              {"payloads", static_cast<int64_t>(storage->slots().Counts().live)},
              {"damage", static_cast<int64_t>(storage->alarms() + storage->slots().alarms())}});
}

// The last words of a process whose storage has failed.
std::string FatalText(const Config& config, absl::string_view failure) {
  if (SpeaksOfFullDisk(failure)) {
    return FullDiskAdvice(config.storage.data_dir, DiskSettingsOf(config));
  }
  return absl::StrCat("a write or sync on the disk of storage.data_dir ", config.storage.data_dir,
                      " failed: see the kernel's log for errors of that disk, and start mayflyd "
                      "again; all that was acknowledged is recovered");
}

absl::StatusOr<std::unique_ptr<CallStore>> StartStore(const Config& config, Clock* clock, Log* log,
                                                      PayloadEndListener* payload_ends) {
  auto root_key = LoadConfiguredRootKey(config);
  RETURN_IF_ERROR(root_key.status());
  auto storage = OpenStorage(config, *std::move(root_key), clock, log);
  RETURN_IF_ERROR(storage.status());
  LogRecovered(storage->get(), log);
  CallStoreOptions options;
  options.config = &config;
  options.clock = clock;
  options.payload_ends = payload_ends;
  options.on_fatal = [log, &config, local = storage->get()](const absl::Status& status) {
    const std::string known = local->failure();
    const std::string failure = known.empty() ? std::string(status.message()) : known;
    const std::string text = FatalText(config, failure);
    log->Write(Config::LogLevel::kCritical, "storage failed, the process ends",
               {{"error", absl::string_view(failure)}, {"next_step", absl::string_view(text)}});
    std::fprintf(stderr, "mayflyd: %s: %s\n", failure.c_str(), text.c_str());
    // Not exit(): destructors would write to the failed storage.
    _exit(kExitStorageFailed);
  };
  options.on_log = [log](Config::LogLevel level, const std::string& text) {
    log->Write(level, "store", {{"text", absl::string_view(text)}});
  };
  return CallStore::Start(*std::move(storage), std::move(options));
}

absl::Status WritePortFile(const std::string& path, int port) {
  if (path.empty()) return absl::OkStatus();
  const std::filesystem::path file(path);
  const std::string text = absl::StrCat(port, "\n");
  if (ReplaceFile(PosixFileSystem(), file.parent_path().string(), file.filename().string(),
                  AsBytes(text))
          .ok()) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat("server.port_file ", path, " cannot be written by user ", geteuid(),
                   ": correct the setting, or let this user write to its directory"));
}

void LogServing(const Config& config, int port, absl::Duration recovery, Log* log) {
  const bool sync = config.storage.durability == Config::Durability::kSync;
  log->Write(Config::LogLevel::kInfo, "serving",
             {{"version", kVersion},
              {"listen", absl::string_view(config.server.listen)},
              {"port", port},
              {"durability", sync ? "sync" : "relaxed"},
              {"shards", static_cast<int64_t>(config.storage.shards)},
              {"recovery_ms", absl::ToInt64Milliseconds(recovery)}});
}

// Answer polls first, so that clients can still ack the outputs that they received.
void DrainAndShutdown(const Config& config, CallStore* store, Server* server) {
  const absl::Duration timeout = config.server.drain_timeout;
  const absl::Duration grace = std::min(kAckGrace, timeout);
  server->Drain();
  store->Drain();
  absl::SleepFor(grace);
  server->Shutdown(timeout - grace);
}

// Workers, shards, the sweep, maintenance, syncs; and what gRPC and RocksDB start.
int ThreadsOf(const Config& config) {
  constexpr int kOfLibraries = 32;
  return static_cast<int>(config.server.worker_threads + config.storage.shards) + kOfLibraries;
}

}  // namespace

absl::Status RunDaemon(const Config& config, Log* log) {
  BlockStopSignals();
  RETURN_IF_ERROR(CheckThreads(ThreadsOf(config)));
  SystemClock clock;
  const absl::Duration begun = clock.Read().boottime;
  std::unique_ptr<CallStore> store;
  auto server = Server::Start(config, log, &clock);
  RETURN_IF_ERROR(server.status());
  RETURN_IF_ERROR(WritePortFile(config.server.port_file, (*server)->port()));
  log->Write(Config::LogLevel::kInfo, "starting",
             {{"version", kVersion},
              {"listen", absl::string_view(config.server.listen)},
              {"port", (*server)->port()}});
  auto started = StartStore(config, &clock, log, (*server)->payload_ends());
  RETURN_IF_ERROR(started.status());
  store = *std::move(started);
  (*server)->Serve(store.get());
  LogServing(config, (*server)->port(), clock.Read().boottime - begun, log);

  const int signal = WaitForStop();
  log->Write(Config::LogLevel::kInfo, "draining", {{"signal", signal}});
  DrainAndShutdown(config, store.get(), server->get());
  store = nullptr;
  log->Write(Config::LogLevel::kInfo, "stopped", {});
  return absl::OkStatus();
}

absl::Status RotateRootKey(const Config& config, const std::string& new_root_key_file, Log* log) {
  auto new_root_key = LoadRootKey(new_root_key_file, "--rotate-root-key");
  RETURN_IF_ERROR(new_root_key.status());
  RETURN_IF_ERROR(CheckOutside(new_root_key_file, config.storage.data_dir));
  auto old_root_key = LoadConfiguredRootKey(config);
  RETURN_IF_ERROR(old_root_key.status());
  SystemClock clock;
  auto storage = OpenStorage(config, *std::move(old_root_key), &clock, log);
  if (storage.ok()) return (*storage)->keyring()->Rewrap(*new_root_key);
  // A rotation that was interrupted after its last step is already complete.
  if (OpenStorage(config, *std::move(new_root_key), &clock, log).ok()) return absl::OkStatus();
  return storage.status();
}

}  // namespace mayfly
