// mayflyd, the server.
//
//   exit   when
//   0      stopped by a signal, with its data closed; or the check or the rotation succeeded
//   1      refused to start, with one sentence that gives the reason; or the check has found that a
//          start would be refused, with a sentence each
//   2      the command line or the configuration is wrong
//   70     a write or sync failed; the next start recovers the data

#include <cstdio>
#include <string>

#include "absl/time/clock.h"
#include <CLI/CLI.hpp>
#include <openssl/crypto.h>

#include "base/version.h"
#include "config/config.h"
#include "server/daemon.h"
#include "server/logging.h"
#include "server/preflight.h"
#include "server/process.h"

namespace mayfly {
namespace {

constexpr int kExitOk = 0;
constexpr int kExitRefused = 1;
constexpr int kExitWrongUse = 2;

struct Arguments {
  std::string config_path;
  std::string new_root_key_file;
  bool check_config = false;
};

void PrintError(const absl::Status& status) {
  std::fprintf(stderr, "mayflyd: %s\n", std::string(status.message()).c_str());
}

int ReportPreflight(const Config& config) {
  const Preflight found = CheckBeforeStart(config, absl::Now());
  for (const std::string& warning : found.warnings) {
    std::fprintf(stderr, "mayflyd: warning: %s\n", warning.c_str());
  }
  for (const std::string& fault : found.faults) {
    std::fprintf(stderr, "mayflyd: %s\n", fault.c_str());
  }
  if (!found.faults.empty()) return kExitRefused;
  std::puts("the configuration is valid");
  return kExitOk;
}

// Carries out the requested action.
absl::Status Run(const Arguments& arguments, const Config& config, Log* log) {
  if (arguments.new_root_key_file.empty()) return RunDaemon(config, log);
  absl::Status status = RotateRootKey(config, arguments.new_root_key_file, log);
  if (status.ok()) {
    std::printf(
        "the keys are sealed with the root key in %s: let keys.root_key_file name that file "
        "before "
        "the next start; the old root key is no longer needed\n",
        arguments.new_root_key_file.c_str());
  }
  return status;
}

int Main(const Arguments& arguments) {
  const auto config = LoadConfig(arguments.config_path);
  if (!config.ok()) {
    PrintError(config.status());
    return kExitWrongUse;
  }
  if (arguments.check_config) return ReportPreflight(*config);
  const auto log = JsonLog::Open(config->log);
  if (!log.ok()) {
    PrintError(log.status());
    return kExitRefused;
  }
  const absl::Status status = Run(arguments, *config, log->get());
  if (status.ok()) return kExitOk;
  (*log)->Write(Config::LogLevel::kCritical, "refused to start",
                {{"error", absl::string_view(status.message())}});
  PrintError(status);
  return kExitRefused;
}

}  // namespace
}  // namespace mayfly

int main(int argc, char** argv) {
  mayfly::HardenProcess();
  // gRPC's threads may still use OpenSSL while the process exits.
  OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, nullptr);
  mayfly::Arguments arguments;
  CLI::App app("Mayfly, an ephemeral function I/O store: the server.", "mayflyd");
  app.add_option("--config", arguments.config_path, "The configuration, see mayfly.toml")
      ->required()
      ->type_name("FILE");
  const auto check = app.add_flag("--check-config", arguments.check_config,
                                  "Report all that would keep the server from starting, "
                                  "and exit");
  app.add_option("--rotate-root-key", arguments.new_root_key_file,
                 "Wrap the keys with the root key in FILE, and exit; the server must not run")
      ->type_name("FILE")
      ->excludes(check);
  app.set_version_flag("--version", std::string("mayflyd ") + mayfly::kVersion);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // --help and --version also end here; they are not errors.
    return app.exit(error) == 0 ? mayfly::kExitOk : mayfly::kExitWrongUse;
  }
  return mayfly::Main(arguments);
}
