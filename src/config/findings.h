// Findings collects the mistakes in a configuration, so that all of them are reported together.
//
// It records the line of each setting, and which settings were rejected. A rule between two
// settings reports nothing if one of them was already rejected. Settings are identified by their
// full names, "retention.tenants.acme.max_ttl". Not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace mayfly {

class Findings {
 public:
  // Lines count from 1; 0 means unknown.
  void Given(absl::string_view setting, uint32_t line);
  bool WasGiven(absl::string_view setting) const { return LineOf(setting) != 0; }
  uint32_t LineOf(absl::string_view setting) const;

  // Reports "line N: `setting` `complaint`", with the line of `setting`, or with `line`.
  void Refuse(absl::string_view setting, absl::string_view complaint);
  void RefuseAt(uint32_t line, absl::string_view setting, absl::string_view complaint);
  bool WasRefused(absl::string_view setting) const;

  // OK if nothing was rejected; otherwise INVALID_ARGUMENT, sorted by line, joined by newlines.
  absl::Status ToStatus() const;

 private:
  std::map<std::string, uint32_t, std::less<>> lines_;
  std::set<std::string, std::less<>> refused_;
  std::vector<std::pair<uint32_t, std::string>> complaints_;
};

}  // namespace mayfly
