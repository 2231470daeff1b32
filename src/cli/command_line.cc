#include "cli/command_line.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include <CLI/CLI.hpp>

#include "base/call_id.h"
#include "cli/completion.h"
#include "cli/mistake.h"
#include "cli/report.h"

namespace mayfly::cli {
namespace {

constexpr char kFooter[] = R"(
exit codes:
  0  success
  2  wrong arguments or settings, or no usable config file; nothing was sent
  3  the call or its output is gone, or never existed
  4  the server could not be reached, or did not answer in time
  5  the server rejected the request, there is no output yet (OUTPUT_PENDING), a certificate
     is not valid, or a file could not be read or written
  6  retrieved, but the outcome is FAILURE, TIMEOUT or CANCELLED
With several calls, the code is that of the first error. Ctrl-C releases claims. A transfer from or
to a file that was broken off is resumed by the same command; put-input prints the command to use.

environment, used where neither a flag nor the profile of --as has a value, before the config file:
  MAYFLY_SERVER, MAYFLY_CA, MAYFLY_CERT, MAYFLY_KEY   as --server, --ca, --cert, --key
  MAYFLY_CONFIG                                       as --config

config file, TOML; relative paths are relative to its directory:
  server = "mayfly.example:7443"    # 7443 is the default port
  ca = "ca.pem"
  cert = "client.pem"
  key = "client.key"
  [profiles.worker]     # with --as worker, in place of the above
  cert = "worker.pem"
  key = "worker.key"

Durations are written as 90s, 15m or 24h. See also "mayfly COMMAND --help".
)";

const std::map<std::string, client::Outcome> kOutcomes = {
    {"success", client::Outcome::kSuccess},
    {"failure", client::Outcome::kFailure},
    {"timeout", client::Outcome::kTimeout},
    {"cancelled", client::Outcome::kCancelled},
};

void AddDuration(CLI::App* app, const std::string& flag, absl::Duration* value,
                 const std::string& description) {
  app->add_option_function<std::string>(
         flag,
         [flag, value](const std::string& text) {
           if (absl::ParseDuration(text, value) && *value >= absl::ZeroDuration()) return;
           throw CLI::ValidationError(flag, "expected a duration such as 90s, 15m or 24h");
         },
         description)
      ->type_name("DURATION");
}

void AddLabels(CLI::App* app, std::map<std::string, std::string>* labels) {
  app->add_option_function<std::vector<std::string>>(
         "--label",
         [labels](const std::vector<std::string>& pairs) {
           for (const std::string& pair : pairs) {
             const size_t equals = pair.find('=');
             if (equals == 0 || equals == std::string::npos) {
               throw CLI::ValidationError("--label", "expected NAME=VALUE");
             }
             (*labels)[pair.substr(0, equals)] = pair.substr(equals + 1);
           }
         },
         "a label to store with the payload; may be repeated")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false);
}

CLI::Option* AddPayload(CLI::App* app, CommandLine* line) {
  CLI::Option* file =
      app->add_option("FILE", line->payload_file, "the payload; default, or with -: stdin")
          ->type_name("FILE");
  AddDuration(app, "--ttl", &line->ttl,
              "how long it stays readable, at most 24h; default: set by the server");
  app->add_option("--content-type", line->metadata.content_type, "a media type to store with it");
  AddLabels(app, &line->metadata.labels);
  return file;
}

// Empty if it is a call id.
std::string CallMistake(const std::string& call_id) {
  const absl::Status status = CallId::Parse(call_id).status();
  if (status.ok()) return "";
  if (call_id.empty()) return "it is empty, expected a call id";
  return absl::StrCat(call_id, " is no call id, it ",
                      absl::StripPrefix(status.message(), "call_id "));
}

CLI::Option* CheckCallIds(CLI::Option* option) {
  return option->check(CLI::Validator(CallMistake, "", "call id"));
}

CLI::Option* AddList(CLI::App* app, CommandLine* line, const std::string& purpose) {
  return app
      ->add_option("--all", line->list_file,
                   purpose + ": a file with their ids, one per line; -: stdin")
      ->type_name("FILE");
}

// CALL ... or --all.
void AddCalls(CLI::App* app, CommandLine* line, Verb verb) {
  CLI::Option* calls =
      CheckCallIds(app->add_option("CALL", line->call_ids, "the call ids"))->type_name("");
  AddList(app, line, "the calls of a list")->excludes(calls);
  app->callback([line, verb] {
    line->verb = verb;
    if (line->call_ids.empty() && line->list_file.empty()) {
      throw CLI::RequiredError("CALL or --all");
    }
  });
}

CLI::Option* AddCall(CLI::App* app, const std::string& name, CommandLine* line,
                     const std::string& description) {
  return CheckCallIds(app->add_option_function<std::string>(
                          name, [line](const std::string& call_id) { line->call_ids = {call_id}; },
                          description))
      ->type_name("");
}

// One of CALL and --all is required.
void AddCallOrList(CLI::App* retrieve, CommandLine* line) {
  CLI::Option* call = AddCall(retrieve, "CALL", line, "the call id");
  CLI::Option* list = AddList(retrieve, line, "retrieve many calls as they arrive")->excludes(call);
  CLI::Option* directory =
      retrieve
          ->add_option(
              "--dir", line->directory,
              "with --all: the directory for the outputs, each in a file named after its call; "
              "calls whose files exist are skipped")
          ->type_name("DIR")
          ->needs(list);
  list->needs(directory);
  retrieve
      ->add_option("--missing", line->missing_file,
                   "with --all: the file for the ids of calls that have no output yet")
      ->type_name("FILE")
      ->needs(list);
  retrieve->callback([line] {
    line->verb = Verb::kRetrieve;
    if (line->call_ids.empty() && line->list_file.empty()) {
      throw CLI::RequiredError("CALL or --all");
    }
  });
}

CLI::Option* AddOutputFile(CLI::App* app, CommandLine* line) {
  return app
      ->add_option("--output", line->output_file,
                   "the file to write, mode 0600, replaced atomically; default: stdout")
      ->type_name("FILE");
}

CLI::App* AddVerb(CLI::App* app, CommandLine* line, Verb verb, const std::string& name,
                  const std::string& description) {
  CLI::App* command = app->add_subcommand(name, description);
  command->callback([line, verb] { line->verb = verb; });
  return command;
}

void AddVerbs(CLI::App* app, CommandLine* line) {
  CLI::App* put_input = AddVerb(app, line, Verb::kPutInput, "put-input",
                                "Store the input of a call and print the call's id.");
  CLI::Option* call_id = AddCall(put_input, "--call-id", line, "default: a new id");
  CLI::Option* file = AddPayload(put_input, line);
  put_input
      ->add_option("--all", line->payload_paths,
                   "an input for each of these files, and of the files in these directories; "
                   "prints a line with id and file for each")
      ->type_name("FILE")
      ->excludes(call_id)
      ->excludes(file);

  CLI::App* get_input =
      AddVerb(app, line, Verb::kGetInput, "get-input", "Read the input of a call (workers).");
  AddCall(get_input, "CALL", line, "the call id")->required();
  AddOutputFile(get_input, line);

  CLI::App* put_output =
      AddVerb(app, line, Verb::kPutOutput, "put-output", "Store the output of a call (workers).");
  AddCall(put_output, "CALL", line, "the call id")->required();
  AddPayload(put_output, line);
  put_output->add_option("--attempt", line->attempt, "the attempt number; default: 1")
      ->check(CLI::Range(uint32_t{1}, UINT32_MAX).description(""))
      ->type_name("NUMBER");
  put_output->add_option("--outcome", line->outcome, "the result of the run; default: success")
      ->transform(CLI::CheckedTransformer(kOutcomes, CLI::ignore_case).description(""))
      ->type_name("success|failure|timeout|cancelled");

  CLI::App* retrieve =
      AddVerb(app, line, Verb::kRetrieve, "retrieve",
              "Wait for the output of a call, write and sync it, then acknowledge it: "
              "the server erases input and output.");
  AddCallOrList(retrieve, line);
  AddDuration(retrieve, "--wait", &line->wait,
              "how long to wait for the output, or the next one; default: 55s");
  AddOutputFile(retrieve, line)->excludes("--all");

  AddCalls(AddVerb(app, line, Verb::kDescribe, "describe",
                   "Print the state of calls, also of UNKNOWN and EXPIRED ones, without payloads."),
           line, Verb::kDescribe);
  AddCalls(AddVerb(app, line, Verb::kDelete, "delete",
                   "End calls in any state: the server erases input and output."),
           line, Verb::kDelete);
  AddVerb(app, line, Verb::kInfo, "info",
          "Print the server's version and time, your tenant and role, and the limits.");
}

void AddCompletion(CLI::App* app, std::string* shell) {
  CLI::App* completion =
      app->add_subcommand("completion", "Print a completion script for the shell.");
  completion->add_option("SHELL", *shell, "the shell")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh"}).description(""))
      ->type_name("bash|zsh");
}

void AddEverywhere(CLI::App* app, CommandLine* line) {
  app->add_option("--server", line->settings.server, "host:port; default port: 7443")
      ->type_name("HOST:PORT");
  app->add_option("--ca", line->settings.ca, "PEM file: CA certificates for the server")
      ->type_name("FILE");
  app->add_option("--cert", line->settings.cert, "PEM file: your certificate")->type_name("FILE");
  app->add_option("--key", line->settings.key, "PEM file: the key of --cert")->type_name("FILE");
  app->add_option("--as", line->file.profile, "the identity in [profiles.NAME] of the config file")
      ->type_name("NAME");
  app->add_option("--config", line->file.path, "default: ~/.config/mayfly/config.toml")
      ->type_name("FILE");
  app->add_flag("--json", line->json,
                "one JSON object per result on stdout, and per error on stderr");
  AddDuration(app, "--timeout", &line->timeout,
              "how long to try to reach the server, and to wait without reply or progress in "
              "addition to --wait; default: 10s");
}

// "help" and "help COMMAND" are "--help" and "COMMAND --help".
std::vector<std::string> WordsOf(int argc, const char* const* argv) {
  if (argc == 0) return {};
  std::vector<std::string> words(argv + 1, argv + argc);
  if (words.empty() || words[0] != "help") return words;
  words.erase(words.begin());
  words.push_back("--help");
  return words;
}

}  // namespace

std::string VerbName(Verb verb) {
  switch (verb) {
    case Verb::kPutInput:
      return "put-input";
    case Verb::kGetInput:
      return "get-input";
    case Verb::kPutOutput:
      return "put-output";
    case Verb::kRetrieve:
      return "retrieve";
    case Verb::kDescribe:
      return "describe";
    case Verb::kDelete:
      return "delete";
    case Verb::kInfo:
      return "info";
  }
  return "";
}

std::variant<CommandLine, ExitCode> ParseCommandLine(int argc, const char* const* argv,
                                                     std::ostream* out, std::ostream* err) {
  CommandLine line;
  if (argc > 0) line.program = argv[0];
  CLI::App app("Put inputs of function calls, and retrieve each output once.", "mayfly");
  app.footer(kFooter);
  app.set_version_flag("--version", "mayfly " MAYFLY_VERSION);
  app.fallthrough();
  app.require_subcommand(1);
  AddEverywhere(&app, &line);
  AddVerbs(&app, &line);
  std::string shell;
  AddCompletion(&app, &shell);
  const std::vector<std::string> words = WordsOf(argc, argv);
  try {
    // From the last to the first.
    app.parse(std::vector<std::string>(words.rbegin(), words.rend()));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {
      app.exit(error, *out, *err);
      return kExitDone;
    }
    // With an error before it, --json is not parsed yet.
    const auto end = std::find(words.begin(), words.end(), "--");
    const bool json = std::find(words.begin(), end, "--json") != end;
    return Report(out, err, json, line.verb)
        .Refuse(absl::InvalidArgumentError(MistakeText(app, error, words)));
  }
  if (shell.empty()) return line;
  *out << (shell == "bash" ? BashCompletion(app) : ZshCompletion(app));
  return kExitDone;
}

}  // namespace mayfly::cli
