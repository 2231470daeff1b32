#include "base/human_bytes.h"

#include <array>

#include "absl/strings/str_cat.h"

namespace mayfly {

std::string HumanBytes(uint64_t bytes) {
  constexpr std::array<const char*, 6> kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return absl::StrCat(bytes, " B");
  uint64_t whole = bytes;
  uint64_t rest = 0;
  size_t unit = 0;
  for (;; ++unit) {
    rest = whole % 1024;
    whole /= 1024;
    if (whole < 1024) break;
  }
  return absl::StrCat(whole, ".", rest * 10 / 1024, " ", kUnits[unit]);
}

}  // namespace mayfly
