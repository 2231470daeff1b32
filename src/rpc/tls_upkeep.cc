#include "rpc/tls_upkeep.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "rpc/tls_validity.h"

namespace mayfly {

void TlsUpkeep::Refresh() {
  absl::Status status = files_->Refresh();
  status.Update(peers_->Refresh());
  WarnOfFault(status);
  for (const std::string& reloaded : files_->TakeReloaded()) {
    log_->Write(Config::LogLevel::kInfo, "certificates were reloaded",
                {{"files", absl::string_view(reloaded)}});
  }
  WarnOfValidity();
}

void TlsUpkeep::WarnOfValidity() {
  std::vector<std::string> warnings = TlsValidityWarnings(
      files_->settings(), {.ca = files_->ca_text(), .certificate = files_->certificate_text()},
      clock_->Read().wall);
  for (const std::string& text : warnings) {
    if (std::find(warnings_.begin(), warnings_.end(), text) != warnings_.end()) continue;
    log_->Write(Config::LogLevel::kWarning, "a certificate of [tls] needs to be replaced",
                {{"error", absl::string_view(text)}});
  }
  warnings_ = std::move(warnings);
}

void TlsUpkeep::WarnOfFault(const absl::Status& fault) {
  const absl::Time now = clock_->Read().wall;
  const bool is_known = fault == fault_ && now >= fault_logged_ && now - fault_logged_ < kRepeat;
  fault_ = fault;
  if (fault.ok() || is_known) return;
  fault_logged_ = now;
  log_->Write(Config::LogLevel::kWarning,
              "a file of [tls] is unusable, the last usable ones stay in use",
              {{"error", fault.message()}});
}

}  // namespace mayfly
