// Scripts that complete mayfly's command line in a shell, made from what its parser knows.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace mayfly::cli {

// What completes a value follows from its type's name: FILE, DIR, or words with | between them.
std::string BashCompletion(const CLI::App& app);
std::string ZshCompletion(const CLI::App& app);

}  // namespace mayfly::cli
