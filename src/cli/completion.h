// Generates shell completion scripts for mayfly from its parser.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace mayfly::cli {

// The completion of a value depends on the name of its type: FILE, DIR, or words separated by |.
std::string BashCompletion(const CLI::App& app);
std::string ZshCompletion(const CLI::App& app);

}  // namespace mayfly::cli
