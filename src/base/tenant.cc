#include "base/tenant.h"

#include <algorithm>

#include "absl/strings/ascii.h"

namespace mayfly {
namespace {

constexpr size_t kNameBytesMax = 63;

bool IsLowerOrDigit(char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c); }

}  // namespace

bool IsTenantName(absl::string_view name) {
  if (name.empty() || name.size() > kNameBytesMax || name[0] == '-') return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return IsLowerOrDigit(c) || c == '-'; });
}

}  // namespace mayfly
