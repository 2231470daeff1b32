// The downloads that an earlier run of a MapRetrieval has begun and not finished.
#include <utility>

#include "absl/container/flat_hash_set.h"

#include "base/error.h"
#include "cli/file_transfer.h"
#include "cli/map_retrieval.h"

namespace mayfly::cli {

std::vector<std::string> MapRetrieval::ResumeBrokenOff() {
  absl::flat_hash_set<std::string> told;
  for (const std::string& call_id : broken_off_) {
    if (!stopping_ && Resume(call_id)) told.insert(call_id);
  }
  std::vector<std::string> left;
  for (const std::string& call_id : missing_) {
    if (!told.contains(call_id)) left.push_back(call_id);
  }
  MutexLock lock(&mutex_);
  for (const std::string& call_id : told) pending_.erase(call_id);
  return left;
}

bool MapRetrieval::Resume(const std::string& call_id) {
  client::RetrieveOptions options{.cancellation = context_.interruption->cancellation()};
  options.progress = [this](uint64_t, std::optional<uint64_t>) { ShowProgress(); };
  options.before_ack = [this](const client::ClaimedOutput& output) { return ReportOutput(output); };
  const absl::StatusOr<client::ClaimedOutput> output = RetrieveIntoFile(
      client_, call_id, {context_.file_system, PathOf(call_id)}, std::move(options), nullptr);
  if (output.ok()) {
    ++written_count_;
    ShowProgress();
    return true;
  }
  const absl::Status& status = output.status();
  if (absl::IsNotFound(status) || absl::IsDataLoss(status)) {
    ReportError(call_id, status);
    return true;
  }
  // Another client, or another run of this program, may have the output.
  const Reason reason = ReasonOf(status);
  const bool is_elsewhere =
      reason == Reason::kOutputPending || reason == Reason::kClaimLost || absl::IsAborted(status);
  if (!is_elsewhere && !absl::IsCancelled(status)) StopForAll(status);
  return false;
}

}  // namespace mayfly::cli
