#include "cli/completion.h"

#include <map>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include <CLI/CLI.hpp>

namespace mayfly::cli {
namespace {

constexpr char kBashFrame[] =
    R"(# Completes mayfly in bash. To try it: source <(mayfly completion bash)
_mayfly() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
  local command= word takes_value= options= kind=
  # "--flag=value" and "host:port" come as three words.
  if [[ $current == = ]]; then
    current=
  elif [[ $previous == = ]]; then
    previous=${COMP_WORDS[COMP_CWORD-2]}
  fi
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    if [[ $word == [=:] ]]; then
      takes_value=1
      continue
    fi
    if [[ $takes_value ]]; then
      takes_value=
      continue
    fi
    case $word in
      @WITH_VALUE@) takes_value=1 ;;
      -*) ;;
      *)
        command=$word
        break
        ;;
    esac
  done
  case $previous in
@VALUES@
  esac
  if [[ ! $kind ]]; then
    case $command in
@COMMANDS@
    esac
    [[ $current != -* ]] || kind="words $options"
  fi
  case $kind in
    file)
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      compopt -o filenames
      ;;
    dir)
      mapfile -t COMPREPLY < <(compgen -d -- "$current")
      compopt -o filenames
      ;;
    words*) mapfile -t COMPREPLY < <(compgen -W "${kind#words}" -- "$current") ;;
    *) COMPREPLY=() ;;
  esac
}
complete -F _mayfly mayfly
)";

constexpr char kZshFrame[] = R"(#compdef mayfly
# Completes mayfly in zsh. To try it: source <(mayfly completion zsh)
_mayfly() {
  local context state state_descr line
  typeset -A opt_args
  local -a everywhere commands
  everywhere=(
@EVERYWHERE@
  )
  commands=(
@NAMES@
  )
  _arguments -C $everywhere '(-)1:command:->command' '(-)*::argument:->argument'
  case $state in
    command) _describe command commands ;;
    argument)
      case $line[1] in
@COMMANDS@
      esac
      ;;
  esac
}
if [[ $funcstack[1] == _mayfly ]]; then
  _mayfly "$@"
else
  compdef _mayfly mayfly
fi
)";

bool IsPositional(const CLI::Option& option) { return option.get_positional(); }

bool TakesValue(const CLI::Option& option) { return option.get_items_expected_max() > 0; }

// Without --help in a subcommand, because every one has it.
std::vector<const CLI::Option*> Flags(const CLI::App& app) {
  return app.get_options([&app](const CLI::Option* option) {
    const bool repeated = app.get_parent() != nullptr && option == app.get_help_ptr();
    return !IsPositional(*option) && !repeated;
  });
}

std::vector<const CLI::Option*> Positionals(const CLI::App& app) {
  return app.get_options([](const CLI::Option* option) { return IsPositional(*option); });
}

std::vector<const CLI::App*> SubcommandsOf(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

// "-h" and "--help".
std::vector<std::string> Names(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  return names;
}

std::vector<std::string> FlagNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : Flags(app)) {
    for (std::string& name : Names(*option)) names.push_back(std::move(name));
  }
  return names;
}

// The name of the kind of a value in the bash frame.
std::string BashKind(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  if (type == "FILE") return "file";
  if (type == "DIR") return "dir";
  if (absl::StrContains(type, '|')) {
    return absl::StrCat("'words ", absl::StrReplaceAll(type, {{"|", " "}}), "'");
  }
  return "nothing";
}

// The flags that take a value, as patterns with the kind; flags of several commands only once.
std::map<std::string, std::string> BashValues(const CLI::App& app) {
  std::map<std::string, std::string> values;
  for (const CLI::Option* option : Flags(app)) {
    if (TakesValue(*option)) values[absl::StrJoin(Names(*option), "|")] = BashKind(*option);
  }
  for (const CLI::App* command : SubcommandsOf(app)) values.merge(BashValues(*command));
  return values;
}

std::string BashNoCommand(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : SubcommandsOf(app)) names.push_back(command->get_name());
  return absl::StrCat("      '')\n        options='", absl::StrJoin(FlagNames(app), " "),
                      "'\n        kind='words ", absl::StrJoin(names, " "), "'\n        ;;\n");
}

std::string BashCommand(const CLI::App& app, const CLI::App& command) {
  std::vector<std::string> flags = FlagNames(app);
  for (std::string& name : FlagNames(command)) flags.push_back(std::move(name));
  const std::vector<const CLI::Option*> positionals = Positionals(command);
  const std::string kind = positionals.empty() ? "nothing" : BashKind(*positionals.back());
  return absl::StrCat("      ", command.get_name(), ")\n        options='",
                      absl::StrJoin(flags, " "), "'\n        kind=", kind, "\n        ;;\n");
}

// Escapes text for a specification inside single quotes.
std::string ZshEscaped(const std::string& text) {
  return absl::StrReplaceAll(
      text, {{"'", "'\\''"}, {":", "\\:"}, {"[", "\\["}, {"]", "\\]"}, {"\n", " "}});
}

// ":FILE:_files": the name of a value and its completion.
std::string ZshValue(const CLI::Option& option, const std::string& name) {
  const std::string type = option.get_type_name();
  std::string action = "()";  // no words; a message without an action would hide the flags
  if (type == "FILE") action = "_files";
  if (type == "DIR") action = "_path_files -/";
  if (absl::StrContains(type, '|')) {
    action = absl::StrCat("(", absl::StrReplaceAll(type, {{"|", " "}}), ")");
  }
  return absl::StrCat(":", ZshEscaped(name), ":", action);
}

std::string ZshFlags(const CLI::App& app, const std::string& indent) {
  std::string text;
  for (const CLI::Option* option : Flags(app)) {
    for (const std::string& name : Names(*option)) {
      absl::StrAppend(&text, indent, "'", name, TakesValue(*option) ? "=" : "", "[",
                      ZshEscaped(option->get_description()), "]",
                      TakesValue(*option) ? ZshValue(*option, option->get_type_name()) : "", "'\n");
    }
  }
  return text;
}

std::string ZshCommand(const CLI::App& command) {
  std::string text = absl::StrCat("        ", command.get_name(), ") _arguments $everywhere \\\n",
                                  ZshFlags(command, "          "));
  int number = 0;
  for (const CLI::Option* option : Positionals(command)) {
    ++number;
    const bool is_last_and_many = option->get_items_expected_max() > 1;
    absl::StrAppend(&text, "          '", is_last_and_many ? "*" : absl::StrCat(number),
                    ZshValue(*option, option->get_name()), "'\n");
  }
  // All lines but the last are continued.
  text.pop_back();
  const size_t first_line = text.find('\n') + 1;
  return absl::StrCat(text.substr(0, first_line),
                      absl::StrReplaceAll(text.substr(first_line), {{"\n", " \\\n"}}), " ;;\n");
}

}  // namespace

std::string BashCompletion(const CLI::App& app) {
  std::string with_value;
  std::string values;
  for (const auto& [pattern, kind] : BashValues(app)) {
    absl::StrAppend(&with_value, with_value.empty() ? "" : "|", pattern);
    absl::StrAppend(&values, "    ", pattern, ") kind=", kind, " ;;\n");
  }
  std::string commands = BashNoCommand(app);
  for (const CLI::App* command : SubcommandsOf(app)) commands += BashCommand(app, *command);
  return absl::StrReplaceAll(
      kBashFrame,
      {{"@WITH_VALUE@", with_value}, {"@VALUES@\n", values}, {"@COMMANDS@\n", commands}});
}

std::string ZshCompletion(const CLI::App& app) {
  std::string names;
  std::string commands;
  for (const CLI::App* command : SubcommandsOf(app)) {
    absl::StrAppend(&names, "    '", command->get_name(), ":",
                    ZshEscaped(command->get_description()), "'\n");
    commands += ZshCommand(*command);
  }
  return absl::StrReplaceAll(kZshFrame, {{"@EVERYWHERE@\n", ZshFlags(app, "    ")},
                                         {"@NAMES@\n", names},
                                         {"@COMMANDS@\n", commands}});
}

}  // namespace mayfly::cli
