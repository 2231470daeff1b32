#include "cli/mistake.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <CLI/CLI.hpp>

namespace mayfly::cli {
namespace {

// How many letters are to be inserted, removed or replaced to make one word the other (Levenshtein).
size_t Distance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

std::vector<const CLI::App*> CommandsOf(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

std::vector<std::string> FlagsOf(const CLI::App& app) {
  std::vector<std::string> flags;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
    for (const std::string& name : option->get_snames()) flags.push_back("-" + name);
  }
  return flags;
}

bool TakesAValue(const CLI::App& app, const std::string& flag) {
  const CLI::Option* option = app.get_option_no_throw(flag);
  return option != nullptr && option->get_items_expected_max() > 0;
}

// The word at the place of the command; empty if there is none.
std::string CommandWord(const CLI::App& app, const std::vector<std::string>& arguments) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (!absl::StartsWith(arguments[i], "-")) return arguments[i];
    if (TakesAValue(app, arguments[i])) ++i;
  }
  return "";
}

std::string CommandNames(const CLI::App& app) {
  std::string names;
  for (const CLI::App* command : CommandsOf(app)) {
    absl::StrAppend(&names, names.empty() ? "" : ", ", command->get_name());
  }
  return names;
}

// The first option that there is not; empty if all are there.
std::string UnknownFlag(const std::vector<std::string>& flags,
                        const std::vector<std::string>& arguments) {
  for (const std::string& argument : arguments) {
    if (argument == "--") break;
    const std::string flag = argument.substr(0, argument.find('='));
    // A number may be the value of an option.
    const bool is_flag = flag.size() > 1 && flag[0] == '-' && !absl::ascii_isdigit(flag[1]);
    if (is_flag && std::find(flags.begin(), flags.end(), flag) == flags.end()) return flag;
  }
  return "";
}

std::string UnknownFlagText(const std::string& flag, const std::vector<std::string>& flags) {
  // Any two short ones are alike.
  const bool is_long = absl::StartsWith(flag, "--");
  return absl::StrCat("unknown option ", flag, is_long ? DidYouMean(flag, flags) : "");
}

std::string NoCommandText(const CLI::App& app, const std::vector<std::string>& arguments) {
  const std::string word = CommandWord(app, arguments);
  const std::vector<std::string> flags = FlagsOf(app);
  const std::string flag = UnknownFlag(flags, arguments);
  if (word.empty() && !flag.empty()) return UnknownFlagText(flag, flags) + "; see mayfly --help";
  if (word.empty()) return absl::StrCat("expected a command: ", CommandNames(app));
  std::vector<std::string> names;
  for (const CLI::App* command : CommandsOf(app)) names.push_back(command->get_name());
  const std::string hint = DidYouMean(word, names);
  return absl::StrCat(word, " is no command",
                      hint.empty() ? absl::StrCat(", expected ", CommandNames(app)) : hint);
}

std::vector<std::string> AllFlags(const CLI::App& app, const CLI::App& command) {
  std::vector<std::string> flags = FlagsOf(command);
  for (std::string& flag : FlagsOf(app)) flags.push_back(std::move(flag));
  return flags;
}

std::string SurplusText(const CLI::App& app, const CLI::App& command,
                        const std::vector<std::string>& arguments) {
  const std::vector<std::string> surplus = app.remaining(/*recurse=*/true);
  const auto first = std::find_if(arguments.begin(), arguments.end(), [&](const auto& argument) {
    return std::find(surplus.begin(), surplus.end(), argument) != surplus.end();
  });
  const std::string word = first == arguments.end() ? "an argument" : *first;
  return absl::StrCat(word, " is one argument too many for ", command.get_name());
}

}  // namespace

std::string Nearest(absl::string_view word, const std::vector<std::string>& candidates) {
  std::string nearest;
  size_t distance = std::max<size_t>(word.size() / 3, 1) + 1;  // farther ones are other words
  for (const std::string& candidate : candidates) {
    const size_t other = Distance(word, candidate);
    if (other >= distance) continue;
    distance = other;
    nearest = candidate;
  }
  return nearest;
}

std::string DidYouMean(absl::string_view word, const std::vector<std::string>& candidates) {
  const std::string nearest = Nearest(word, candidates);
  return nearest.empty() ? "" : absl::StrCat(", did you mean ", nearest, "?");
}

std::string MistakeText(const CLI::App& app, const CLI::ParseError& error,
                        const std::vector<std::string>& arguments) {
  const std::vector<const CLI::App*> commands =
      app.get_subcommands([](const CLI::App* command) { return command->parsed(); });
  if (commands.empty()) return NoCommandText(app, arguments);
  const CLI::App& command = *commands.front();
  const std::string help = absl::StrCat("; see mayfly ", command.get_name(), " --help");
  const std::vector<std::string> flags = AllFlags(app, command);
  // First of all: its value was taken for another argument.
  if (const std::string flag = UnknownFlag(flags, arguments); !flag.empty()) {
    return UnknownFlagText(flag, flags) + help;
  }
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ExtrasError)) {
    return SurplusText(app, command, arguments) + help;
  }
  return error.what() + help;
}

}  // namespace mayfly::cli
