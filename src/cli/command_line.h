// The parsed command line.
#pragma once

#include <cstdint>
#include <map>
#include <ostream>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"

#include "cli/settings.h"
#include "mayfly/call.h"

namespace mayfly::cli {

enum ExitCode : int {
  kExitDone = 0,
  kExitUsage = 2,
  kExitGone = 3,
  kExitNotReached = 4,
  kExitRefused = 5,
  kExitOutcome = 6,  // retrieved, but the run was not successful
};

enum class Verb { kPutInput, kGetInput, kPutOutput, kRetrieve, kDescribe, kDelete, kInfo };

// As on the command line.
std::string VerbName(Verb verb);

struct CommandLine {
  std::string program = "mayfly";  // as it was called
  Verb verb = Verb::kPutInput;
  // One, or several for describe and delete. Empty: put-input generates one.
  std::vector<std::string> call_ids;
  std::string payload_file = "-";          // "-": stdin
  std::vector<std::string> payload_paths;  // many inputs: files, and directories of files
  std::string output_file;                 // empty: stdout
  std::string list_file;                   // call ids for retrieve, describe, delete; "-": stdin
  std::string directory;                   // for the outputs of list_file
  std::string missing_file;                // for the ids of those without; empty: none
  client::Payload metadata;                // without data
  absl::Duration ttl = absl::ZeroDuration();
  uint32_t attempt = 1;
  client::Outcome outcome = client::Outcome::kSuccess;
  absl::Duration wait = absl::Seconds(55);

  Settings settings;
  FileChoice file;
  bool json = false;
  absl::Duration timeout = absl::Seconds(10);
};

// The command, or the exit code if there is nothing else to do. Help and version are written to
// `out`, errors in the arguments to `err`.
std::variant<CommandLine, ExitCode> ParseCommandLine(int argc, const char* const* argv,
                                                     std::ostream* out, std::ostream* err);

}  // namespace mayfly::cli
