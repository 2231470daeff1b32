#include "config/findings.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "base/error.h"

namespace mayfly {

void Findings::Given(absl::string_view setting, uint32_t line) {
  lines_.insert_or_assign(std::string(setting), line);
}

uint32_t Findings::LineOf(absl::string_view setting) const {
  const auto found = lines_.find(setting);
  return found == lines_.end() ? 0 : found->second;
}

void Findings::Refuse(absl::string_view setting, absl::string_view complaint) {
  RefuseAt(LineOf(setting), setting, complaint);
}

void Findings::RefuseAt(uint32_t line, absl::string_view setting, absl::string_view complaint) {
  refused_.emplace(setting);
  complaints_.emplace_back(line, absl::StrCat(line == 0 ? "" : absl::StrCat("line ", line, ": "),
                                              setting, " ", complaint));
}

bool Findings::WasRefused(absl::string_view setting) const { return refused_.contains(setting); }

absl::Status Findings::ToStatus() const {
  if (complaints_.empty()) return absl::OkStatus();
  auto sorted = complaints_;
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kFieldInvalid,
                   absl::StrJoin(sorted, "\n", [](std::string* out, const auto& complaint) {
                     out->append(complaint.second);
                   }));
}

}  // namespace mayfly
