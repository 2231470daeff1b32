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
};

enum class Verb { kPutInput, kGetInput, kPutOutput, kRetrieve, kDescribe, kDelete };

struct CommandLine {
  Verb verb = Verb::kPutInput;
  // One, or several for describe and delete. Empty: put-input generates one.
  std::vector<std::string> call_ids;
  std::string payload_file = "-";  // "-": stdin
  std::string output_file;         // empty: stdout
  std::string list_file;           // call ids to retrieve; "-": stdin
  std::string directory;           // for their outputs
  client::Payload metadata;        // without data
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
