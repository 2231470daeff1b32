// Asks the manifest of a closed database which of its logs are still needed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace mayfly {

// The logs numbered below it have all their rows in table files, by the manifest that CURRENT names in
// `directory`. Nothing when the manifest does not say so or cannot be read. Changes no file.
std::optional<uint64_t> OldestNeededLog(const std::string& directory);

}  // namespace mayfly
