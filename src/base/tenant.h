// Which customer a call belongs to.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"

namespace mayfly {

// A tenant's number in keys: given once to a name, never reused. Names stay out of keys, since
// RocksDB prints keys into its logs.
enum class TenantNumber : uint32_t {};

// The grammar of a tenant's name, in certificates and in the configuration:
// [a-z0-9][a-z0-9-]{0,62}. A DNS label's alphabet, so that a name needs no escaping in a SPIFFE id,
// a file name or a metric.
bool IsTenantName(absl::string_view name);

}  // namespace mayfly
