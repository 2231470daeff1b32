// Sizes of payloads in tests.
#pragma once

#include <cstdint>

namespace mayfly {

constexpr uint64_t kMiB = 1 << 20;

}  // namespace mayfly
