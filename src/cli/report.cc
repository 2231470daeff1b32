#include "cli/report.h"

#include <errno.h>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/descriptor_sink.h"
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

// Options of the client, and fields of the wire, as the command line has them.
std::string AsArguments(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"certificate_file ", "--cert "},
                                    {"ca_file ", "--ca "},
                                    {"key_file ", "--key "},
                                    {"target is ", "--server is "},
                                    {"as the target or as server_name", "in --server"},
                                    {"cancelled by the caller", "interrupted"}});
}

// "items[3].ttl is 25h" is about --ttl: a command has one of each.
std::string WithoutPlace(absl::string_view text) {
  static constexpr std::pair<absl::string_view, absl::string_view> kFields[] = {
      {"ttl", "--ttl"},         {"payload.content_type", "--content-type"},
      {"labels", "--label"},    {"payload.labels", "--label"},
      {"attempt", "--attempt"}, {"outcome", "--outcome"},
      {"call_id", "CALL"}};
  const size_t close = text.find(']');
  const bool has_place = close != absl::string_view::npos && close + 1 < text.size() &&
                         (text[close + 1] == '.' || text[close + 1] == ':') &&
                         text.substr(0, close).find(' ') == absl::string_view::npos;
  if (has_place) text = absl::StripLeadingAsciiWhitespace(text.substr(close + 2));
  for (const auto& [field, argument] : kFields) {
    const bool is_it = absl::StartsWith(text, field) &&
                       (text.size() == field.size() || !absl::ascii_isalnum(text[field.size()]));
    if (is_it) return absl::StrCat(argument, text.substr(field.size()));
  }
  return std::string(text);
}

absl::string_view RoleFor(Verb verb) {
  return verb == Verb::kGetInput || verb == Verb::kPutOutput ? "worker" : "client";
}

// In one line, in the words of the command line.
std::string MessageOf(const absl::Status& status, Verb verb) {
  std::string message = AsArguments(OneLine(status.message()));
  switch (ReasonOf(status)) {
    case Reason::kRoleRequired:
      return absl::StrCat(VerbName(verb), " takes a certificate with the role ", RoleFor(verb),
                          ", and the server says: ", message, "; give the one of a ", RoleFor(verb),
                          " with --cert and --key, or its profile with --as; "
                          "deploy/make-certificates makes one for each role");
    case Reason::kFieldInvalid:
    case Reason::kIdOutsideWindow:
      return WithoutPlace(message);
    default:
      return message;
  }
}

nlohmann::json ErrorObject(const std::string& call_id, const absl::Status& status,
                           const std::string& message) {
  nlohmann::json error = {{"code", absl::StatusCodeToString(status.code())},
                          {"reason", ReasonText(status)},
                          {"message", message}};
  if (!call_id.empty()) error["call_id"] = call_id;
  return {{"error", std::move(error)}};
}

}  // namespace

absl::Status Reworded(const absl::Status& status, absl::string_view text) {
  absl::Status reworded(status.code(), text);
  status.ForEachPayload(
      [&](absl::string_view url, const absl::Cord& payload) { reworded.SetPayload(url, payload); });
  return reworded;
}

absl::Status StoredStatus(const absl::StatusOr<client::Stored>& stored) {
  if (!stored.ok() || stored->deadline.has_value()) return stored.status();
  return MakeError(absl::StatusCode::kNotFound, Reason::kOutputConsumed,
                   "the output was retrieved and acknowledged; nothing was stored");
}

absl::Status Report::Line(absl::string_view text) {
  errno = 0;
  out_->write(text.data(), static_cast<std::streamsize>(text.size()));
  out_->put('\n');
  out_->flush();
  if (out_->good()) return absl::OkStatus();
  if (out_error_ == 0) out_error_ = errno == 0 ? EIO : errno;
  return StdoutError(out_error_);
}

absl::Status Report::Object(const nlohmann::json& object) { return Line(ToText(object)); }

ExitCode Report::NoteOutcome(const client::ClaimedOutput& output) {
  if (output.outcome == client::Outcome::kSuccess) return kExitDone;
  if (!json_) {
    *err_ << absl::StrCat("mayfly: call ", output.claim.call_id, ": the outcome of attempt ",
                          output.attempt, " is ", client::ToString(output.outcome), "\n");
  }
  return kExitOutcome;
}

void Report::Note(absl::string_view text) {
  if (json_) return;
  MutexLock lock(&mutex_);
  has_noted_ = true;
  *err_ << absl::StrCat("mayfly: ", AsArguments(OneLine(text)), "\n") << std::flush;
}

bool Report::HasNoted() {
  MutexLock lock(&mutex_);
  return has_noted_;
}

ExitCode Report::Error(const std::string& call_id, const absl::Status& status,
                       const std::string& resume) {
  const std::string message = MessageOf(status, verb_);
  if (json_) {
    nlohmann::json object = ErrorObject(call_id, status, message);
    if (!resume.empty()) object["error"]["resume"] = resume;
    *err_ << ToText(object) << "\n";
    return ExitCodeOf(status);
  }
  const std::string reason = ReasonText(status);
  *err_ << absl::StrCat("mayfly: ", call_id.empty() ? "" : absl::StrCat("call ", call_id, ": "),
                        Words(status.code()), ": ", message,
                        reason.empty() ? "" : absl::StrCat(" (", reason, ")"), "\n");
  if (!resume.empty()) *err_ << absl::StrCat("mayfly: to resume, run: ", resume, "\n");
  return ExitCodeOf(status);
}

ExitCode Report::Refuse(const absl::Status& status) {
  if (absl::IsCancelled(status)) return kExitRefused;
  const std::string message = MessageOf(status, verb_);
  if (json_) {
    *err_ << ToText(ErrorObject("", status, message)) << "\n";
  } else {
    *err_ << absl::StrCat("mayfly: ", message, "\n");
  }
  return absl::IsInvalidArgument(status) ? kExitUsage : kExitRefused;
}

}  // namespace mayfly::cli
