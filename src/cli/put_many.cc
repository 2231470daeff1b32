#include "cli/put_many.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "cli/json.h"
#include "cli/payload_file.h"
#include "cli/resume_command.h"

namespace mayfly::cli {
namespace {

namespace fs = std::filesystem;

// As many as the server takes in one request, and as much as is sent at a time.
constexpr size_t kGroupFilesMax = 512;
constexpr size_t kGroupBytesMax = 16 << 20;

bool HasControlCharacter(absl::string_view name) {
  return std::any_of(name.begin(), name.end(), absl::ascii_iscntrl);
}

// Such a name could pass for further lines of the list of calls.
absl::Status CheckNames(const std::vector<std::string>& files) {
  const auto bad = std::find_if(files.begin(), files.end(), HasControlCharacter);
  if (bad == files.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--all: the name ", absl::Utf8SafeCEscape(*bad),
                   " has a control character, which cannot be in a list of calls; rename it"));
}

std::string SkippedText(const fs::directory_entry& entry) {
  std::error_code error;
  const bool is_missing = !entry.exists(error);
  return absl::StrCat(absl::Utf8SafeCEscape(entry.path().string()), " is skipped: it is ",
                      is_missing                  ? "a link to no file"
                      : entry.is_directory(error) ? "a directory"
                                                  : "not a regular file");
}

// Appends to all three lists of `inputs`.
void ListDirectory(const std::string& path, InputFiles* inputs) {
  std::vector<std::string> files;
  std::error_code error;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code ignored;
    if (entry->path().filename().string()[0] == '.') continue;
    if (entry->is_regular_file(ignored)) {
      files.push_back(entry->path().string());
    } else {
      inputs->skipped.push_back(SkippedText(*entry));
    }
  }
  if (error) {
    inputs->errors.push_back(absl::FailedPreconditionError(
        absl::StrCat("--all ", path, " cannot be read: ", error.message())));
  }
  std::sort(files.begin(), files.end());
  std::move(files.begin(), files.end(), std::back_inserter(inputs->files));
}

}  // namespace

absl::StatusOr<InputFiles> ListFiles(const std::vector<std::string>& paths) {
  InputFiles inputs;
  for (const std::string& path : paths) {
    std::error_code error;
    // A missing one too: it is told when it is opened.
    if (!fs::is_directory(path, error)) {
      inputs.files.push_back(path);
    } else {
      ListDirectory(path, &inputs);
    }
  }
  RETURN_IF_ERROR(CheckNames(inputs.files));
  return inputs;
}

ExitCode PutMany::Run() {
  const auto inputs = ListFiles(line_.payload_paths);
  if (!inputs.ok()) return context_.report->Refuse(inputs.status());
  for (const absl::Status& error : inputs->errors) SetExitCode(context_.report->Error("", error));
  for (const std::string& skipped : inputs->skipped) context_.report->Note(skipped);
  Group group;
  for (const std::string& file : inputs->files) {
    if (MayContinue()) Put(file, &group);
  }
  if (MayContinue()) Send(&group);
  if (context_.interruption->IsInterrupted()) {
    SetExitCode(context_.report->Error(
        "", absl::CancelledError(absl::StrCat("interrupted, ", stored_count_, " of ",
                                              inputs->files.size(), " inputs are stored"))));
  }
  return exit_code_;
}

bool PutMany::MayContinue() const {
  return written_.ok() && !context_.interruption->IsInterrupted();
}

void PutMany::Put(const std::string& file, Group* group) {
  client::Input input{.call_id = client::MintCallId(), .payload = line_.metadata, .ttl = line_.ttl};
  const auto source = OpenPayload(file, context_.standard_input, context_.interruption);
  if (!source.ok()) return ReportError(file, "", source.status());
  const absl::StatusOr<bool> fits = ReadIfItFits(source->get(), &input.payload.data);
  if (!fits.ok()) return ReportError(file, "", fits.status());
  if (!*fits) {
    Send(group);  // results in order
    if (!MayContinue()) return;
    const absl::StatusOr<client::Stored> stored = Upload(&input, source->get());
    return ReportStored(file, input.call_id, stored);
  }
  group->bytes += input.payload.data.size();
  group->files.push_back(file);
  group->inputs.push_back(std::move(input));
  if (group->files.size() >= kGroupFilesMax || group->bytes >= kGroupBytesMax) Send(group);
}

void PutMany::Send(Group* group) {
  Group sent = std::exchange(*group, Group());
  if (sent.files.empty()) return;
  const auto results = PutAll(&sent.inputs);
  for (size_t i = 0; i < results.size(); ++i) {
    ReportStored(sent.files[i], sent.inputs[i].call_id, results[i]);
  }
}

std::vector<absl::StatusOr<client::Stored>> PutMany::PutAll(
    std::vector<client::Input>* inputs) const {
  const client::CallOptions options{.cancellation = context_.interruption->cancellation()};
  auto results = client_.PutInputs(*inputs, options);
  std::vector<size_t> refused;
  std::vector<client::Input> again;
  for (size_t i = 0; i < results.size(); ++i) {
    if (ReasonOf(results[i].status()) != Reason::kIdOutsideWindow) continue;
    (*inputs)[i].call_id = client::MintCallId();  // by the server's time, which is known now
    refused.push_back(i);
    again.push_back((*inputs)[i]);
  }
  auto second_results = client_.PutInputs(std::move(again), options);
  for (size_t i = 0; i < refused.size(); ++i) results[refused[i]] = std::move(second_results[i]);
  return results;
}

absl::StatusOr<client::Stored> PutMany::Upload(client::Input* input,
                                               client::PayloadSource* source) const {
  const client::CallOptions options{.cancellation = context_.interruption->cancellation()};
  absl::StatusOr<client::Stored> stored = client_.UploadInput(*input, source, options);
  if (ReasonOf(stored.status()) != Reason::kIdOutsideWindow) return stored;
  input->call_id = client::MintCallId();
  return client_.UploadInput(*input, source, options);
}

void PutMany::ReportStored(const std::string& file, const std::string& call_id,
                           const absl::StatusOr<client::Stored>& stored) {
  const absl::Status status = StoredStatus(stored);
  if (!status.ok()) return ReportError(file, call_id, status);
  ++stored_count_;
  if (written_.ok()) {
    written_ = Print(file, *stored);
    if (written_.ok()) return;
    SetExitCode(context_.report->Error("", written_));
  }
  // The only place from which the user learns the id.
  ReportError(file, call_id,
              absl::FailedPreconditionError("the input is stored, and is not in the list"));
}

absl::Status PutMany::Print(const std::string& file, const client::Stored& stored) {
  if (!context_.report->json()) {
    return context_.report->Line(absl::StrCat(stored.call_id, "\t", file));
  }
  nlohmann::json object = ToJson(stored);
  object["file"] = file;
  return context_.report->Object(object);
}

void PutMany::ReportError(const std::string& file, const std::string& call_id,
                          const absl::Status& status) {
  SetExitCode(context_.report->Error(
      call_id, Reworded(status, absl::StrCat(file, ": ", status.message())),
      IsResumable(status) && !call_id.empty() ? ResumeCommand(line_, call_id, file) : ""));
}

void PutMany::SetExitCode(ExitCode code) {
  if (exit_code_ == kExitDone) exit_code_ = code;
}

}  // namespace mayfly::cli
