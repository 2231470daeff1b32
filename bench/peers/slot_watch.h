// Reads a server's slot file to find out when the secrets in it are erased.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace mayfly::peers {

// Notes which slots are live now, and counts every half second how many of them still are, until
// none is or `seconds` have passed. Slots that are used again since do not count. Times are
// monotonic; "erased_s" is null when some are left.
nlohmann::json RunSlotWatch(const std::string& slot_file, double seconds);

}  // namespace mayfly::peers
