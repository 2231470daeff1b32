// Which customer a call belongs to.
#pragma once

#include <cstdint>

namespace mayfly {

// A tenant's number in keys: given once to a name, never reused. Names stay out of keys, since
// RocksDB prints keys into its logs.
enum class TenantNumber : uint32_t {};

}  // namespace mayfly
