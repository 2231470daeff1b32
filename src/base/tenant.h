// Identifies the tenant of a call.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"

namespace mayfly {

// A tenant's number in row keys. It is assigned once to a name and never reused. Row keys do not
// contain names, because RocksDB prints keys into its logs.
enum class TenantNumber : uint32_t {};

// Whether `name` is a valid tenant name, in certificates and in the configuration:
// [a-z0-9][a-z0-9-]{0,62}. This is the alphabet of a DNS label, so a name needs no escaping in a
// SPIFFE ID, a file name or a metric.
bool IsTenantName(absl::string_view name);

}  // namespace mayfly
