#include "cli/report.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include <nlohmann/json.hpp>

#include "mayfly/error.h"

namespace mayfly::cli {
namespace {

// Arguments may be invalid UTF-8, but JSON must be valid.
std::string ToText(const nlohmann::json& object) {
  return object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// "not found" for NOT_FOUND.
std::string Words(absl::StatusCode code) {
  return absl::StrReplaceAll(absl::AsciiStrToLower(absl::StatusCodeToString(code)), {{"_", " "}});
}

std::string ReasonText(const absl::Status& status) {
  const Reason reason = ReasonOf(status);
  return reason == Reason::kUnspecified ? "" : std::string(ReasonName(reason));
}

// Texts of gRPC and other libraries may have several lines.
std::string OneLine(absl::string_view text) { return absl::StrReplaceAll(text, {{"\n", " "}}); }

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      return kExitGone;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return kExitNotReached;
    default:
      return kExitRefused;
  }
}

nlohmann::json ErrorObject(const std::string& call_id, const absl::Status& status) {
  nlohmann::json error = {{"code", absl::StatusCodeToString(status.code())},
                          {"reason", ReasonText(status)},
                          {"message", std::string(status.message())}};
  if (!call_id.empty()) error["call_id"] = call_id;
  return {{"error", std::move(error)}};
}

}  // namespace

bool Report::Line(absl::string_view text) {
  out_->write(text.data(), static_cast<std::streamsize>(text.size()));
  out_->put('\n');
  out_->flush();
  return out_->good();
}

bool Report::Object(const nlohmann::json& object) { return Line(ToText(object)); }

void Report::NoteOutcome(const client::ClaimedOutput& output) {
  if (json_ || output.outcome == client::Outcome::kSuccess) return;
  *err_ << absl::StrCat("mayfly: call ", output.claim.call_id, ": the outcome of attempt ",
                        output.attempt, " is ", client::ToString(output.outcome), "\n");
}

ExitCode Report::Error(const std::string& call_id, const absl::Status& status) {
  if (json_) {
    *err_ << ToText(ErrorObject(call_id, status)) << "\n";
    return ExitCodeOf(status);
  }
  const std::string reason = ReasonText(status);
  *err_ << absl::StrCat("mayfly: ", call_id.empty() ? "" : absl::StrCat("call ", call_id, ": "),
                        Words(status.code()), ": ", OneLine(status.message()),
                        reason.empty() ? "" : absl::StrCat(" (", reason, ")"), "\n");
  return ExitCodeOf(status);
}

ExitCode Report::UsageError(const absl::Status& status) {
  if (json_) {
    *err_ << ToText(ErrorObject("", status)) << "\n";
  } else {
    *err_ << absl::StrCat("mayfly: ", OneLine(status.message()), "\n");
  }
  return kExitUsage;
}

}  // namespace mayfly::cli
