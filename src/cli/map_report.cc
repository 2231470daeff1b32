// The output of a MapRetrieval: results, errors, progress, and the calls that are left.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "base/error.h"
#include "cli/json.h"
#include "cli/map_retrieval.h"
#include "cli/output_file.h"
#include "cli/reach.h"

namespace mayfly::cli {
namespace {

// That an error names.
constexpr size_t kNamedCallsMax = 3;

// "ID, ID, ID and 4 more"
std::string SomeOf(const std::vector<std::string>& call_ids) {
  const size_t named = std::min(call_ids.size(), kNamedCallsMax);
  const std::string text =
      absl::StrJoin(call_ids.begin(), call_ids.begin() + static_cast<ptrdiff_t>(named), ", ");
  return named == call_ids.size() ? text
                                  : absl::StrCat(text, " and ", call_ids.size() - named, " more");
}

absl::Status PendingError(const std::vector<std::string>& pending, size_t total,
                          absl::Duration wait, const std::string& missing_file) {
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kOutputPending,
                   absl::StrCat(pending.size(), " of ", total,
                                " calls have no output yet, and none arrived for ",
                                absl::FormatDuration(wait), ": ", SomeOf(pending), "; ",
                                missing_file.empty() ? "--missing FILE writes them to a file"
                                                     : absl::StrCat("see ", missing_file)));
}

}  // namespace

void MapRetrieval::ReportError(const std::string& call_id, const absl::Status& status) {
  MutexLock lock(&console_mutex_);
  if (!call_id.empty()) ++ended_count_;
  context_.bar->Hide();
  const ExitCode code = context_.report->Error(call_id, status);
  if (exit_code_ == kExitDone) exit_code_ = code;
}

absl::Status MapRetrieval::ReportOutput(const client::ClaimedOutput& output) {
  MutexLock lock(&console_mutex_);
  const auto reported = reported_.find(output.claim.call_id);
  if (reported != reported_.end() && reported->second == output.attempt) return absl::OkStatus();
  if (context_.report->json()) {
    RETURN_IF_ERROR(context_.report->Object(ToJson(output, /*with_data=*/false)));
  }
  reported_[output.claim.call_id] = output.attempt;
  if (output.outcome != client::Outcome::kSuccess) context_.bar->Hide();
  const ExitCode outcome = context_.report->NoteOutcome(output);
  if (outcome != kExitDone) outcome_ = outcome;
  return absl::OkStatus();
}

std::vector<std::string> MapRetrieval::PendingCalls() {
  MutexLock lock(&mutex_);
  std::vector<std::string> pending;
  for (const std::string& call_id : missing_) {
    if (pending_.contains(call_id)) pending.push_back(call_id);
  }
  return pending;
}

void MapRetrieval::WriteMissing(const std::vector<std::string>& pending) {
  const std::string text = pending.empty() ? "" : absl::StrCat(absl::StrJoin(pending, "\n"), "\n");
  OutputFile file(context_.file_system, line_.missing_file);
  absl::Status status = text.empty() ? absl::OkStatus() : file.WriteAt(0, text);
  if (status.ok()) status = file.Finish(text.size());
  if (!status.ok()) ReportError("", status);
}

// Reports the calls without a result.
void MapRetrieval::ReportRest() {
  const std::vector<std::string> pending = PendingCalls();
  const size_t total = kept_count_ + missing_.size();
  if (!line_.missing_file.empty()) WriteMissing(pending);
  if (context_.interruption->IsInterrupted()) {
    ReportError("", absl::CancelledError(
                        absl::StrCat("interrupted, ", kept_count_ + written_count_, " of ", total,
                                     " outputs are saved; run the same command again to resume")));
    return;
  }
  if (!pending.empty() && !stopping_) {
    const absl::Status reached = ReachServer(client_, pending[0], line_, context_);
    ReportError("",
                reached.ok() ? PendingError(pending, total, wait_, line_.missing_file) : reached);
  }
  ShowProgress();
  MutexLock lock(&console_mutex_);
  context_.bar->End();
}

void MapRetrieval::ShowProgress() {
  MutexLock lock(&console_mutex_);
  context_.bar->ShowOutputs({.saved = kept_count_ + written_count_,
                             .ended = ended_count_,
                             .total = kept_count_ + missing_.size()},
                            bytes_);
}

}  // namespace mayfly::cli
