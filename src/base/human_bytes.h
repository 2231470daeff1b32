// Sizes as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace mayfly {

// "512 B", "25.0 MiB", "1.5 GiB": rounded down to a tenth, so that free space is never overstated.
std::string HumanBytes(uint64_t bytes);

}  // namespace mayfly
