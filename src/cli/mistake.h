// Says what is wrong with a command line, in one line, and what was probably meant.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace mayfly::cli {

// The candidate that is most like `word`; empty if none is.
std::string Nearest(absl::string_view word, const std::vector<std::string>& candidates);

// ", did you mean NEAREST?", or empty.
std::string DidYouMean(absl::string_view word, const std::vector<std::string>& candidates);

// For an error of app.parse, which was given `arguments`.
std::string MistakeText(const CLI::App& app, const CLI::ParseError& error,
                        const std::vector<std::string>& arguments);

}  // namespace mayfly::cli
