#include "cli/commands.h"

#include <errno.h>
#include <fstream>
#include <string.h>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "cli/json.h"
#include "cli/output_file.h"

namespace mayfly::cli {
namespace {

// Above what any server takes; without it, a device that never ends would fill the memory.
constexpr size_t kPayloadBytesMax = 64u << 20;

absl::Status StdoutError() { return absl::FailedPreconditionError("stdout cannot be written to"); }

std::string DescriptionText(const client::CallDescription& call) {
  std::string text = absl::StrCat(call.call_id, " ", client::ToString(call.state));
  if (call.input.has_value()) {
    absl::StrAppend(&text, ", input of ", call.input->size_bytes, " bytes until ",
                    TimeText(call.input->deadline));
  }
  if (call.output.has_value()) {
    absl::StrAppend(&text, ", output of attempt ", call.output->attempt, ", ",
                    call.output->size_bytes, " bytes until ", TimeText(call.output->deadline));
  }
  return text;
}

}  // namespace

Commands::Commands(client::Client client, const CommandLine& line, std::istream* in, Report* report,
                   FileSystem* file_system)
    : client_(std::move(client)),
      line_(line),
      in_(in),
      report_(report),
      file_system_(file_system) {}

ExitCode Commands::Run() {
  if (!line_.output_file.empty()) {
    const absl::Status status = CheckOutputPath(line_.output_file);
    if (!status.ok()) return report_->UsageError(status);
  }
  switch (line_.verb) {
    case Verb::kPutInput:
      return PutInput();
    case Verb::kGetInput:
      return GetInput();
    case Verb::kPutOutput:
      return PutOutput();
    case Verb::kRetrieve:
      return Retrieve();
    case Verb::kDescribe:
      return Describe();
    case Verb::kDelete:
      return Delete();
  }
  return kExitUsage;
}

absl::StatusOr<client::Payload> Commands::ReadPayload() {
  errno = 0;
  std::ifstream file;
  if (line_.payload_file != "-") file.open(line_.payload_file, std::ios::binary);
  std::istream& in = line_.payload_file == "-" ? *in_ : file;
  client::Payload payload = line_.metadata;
  payload.data.resize(kPayloadBytesMax + 1);
  in.read(payload.data.data(), static_cast<std::streamsize>(payload.data.size()));
  if (in.bad() || (&in == &file && !file.is_open())) {
    return absl::InvalidArgumentError(
        absl::StrCat("the payload cannot be read: ", strerrordesc_np(errno)));
  }
  payload.data.resize(static_cast<size_t>(in.gcount()));
  if (payload.data.size() > kPayloadBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("the payload is more than ", kPayloadBytesMax, " bytes, the limit"));
  }
  payload.data.shrink_to_fit();
  return payload;
}

ExitCode Commands::ReportStored(const absl::StatusOr<client::Stored>& stored,
                                const std::string& call_id) {
  if (!stored.ok()) return report_->Error(call_id, stored.status());
  bool written = true;
  if (report_->json()) {
    written = report_->Object(ToJson(*stored));
  } else if (line_.verb == Verb::kPutInput) {
    written = report_->Line(stored->call_id);
  }
  return written ? kExitDone : report_->Error(call_id, StdoutError());
}

ExitCode Commands::PutInput() {
  absl::StatusOr<client::Payload> payload = ReadPayload();
  if (!payload.ok()) return report_->UsageError(payload.status());
  // Minted here, so that an error names the call that may have been made all the same.
  const std::string call_id = line_.call_ids.empty() ? client::MintCallId() : line_.call_ids[0];
  return ReportStored(
      client_.PutInput({.call_id = call_id, .payload = *std::move(payload), .ttl = line_.ttl}),
      call_id);
}

ExitCode Commands::PutOutput() {
  absl::StatusOr<client::Payload> payload = ReadPayload();
  if (!payload.ok()) return report_->UsageError(payload.status());
  return ReportStored(client_.PutOutput({.call_id = call_id(),
                                         .attempt = line_.attempt,
                                         .outcome = line_.outcome,
                                         .payload = *std::move(payload),
                                         .ttl = line_.ttl}),
                      call_id());
}

absl::Status Commands::WritePayload(const std::string& data) {
  if (!line_.output_file.empty()) {
    OutputFile file(file_system_, line_.output_file);
    RETURN_IF_ERROR(file.WriteAt(0, data));
    return file.Finish(data.size());
  }
  return report_->Bytes(data) ? absl::OkStatus() : StdoutError();
}

ExitCode Commands::GetInput() {
  const absl::StatusOr<client::StoredInput> input = client_.GetInput(call_id());
  if (!input.ok()) return report_->Error(call_id(), input.status());
  const bool to_file = !line_.output_file.empty();
  if (to_file || !report_->json()) {
    const absl::Status status = WritePayload(input->payload.data);
    if (!status.ok()) return report_->Error(call_id(), status);
  }
  if (report_->json() && !report_->Object(ToJson(*input, /*with_data=*/!to_file))) {
    return report_->Error(call_id(), StdoutError());
  }
  return kExitDone;
}

absl::Status Commands::WriteOutput(const client::ClaimedOutput& output) {
  const bool to_file = !line_.output_file.empty();
  if (to_file || !report_->json()) RETURN_IF_ERROR(WritePayload(output.payload.data));
  if (report_->json() && !report_->Object(ToJson(output, /*with_data=*/!to_file))) {
    return StdoutError();
  }
  if (output.outcome != client::Outcome::kSuccess) {
    report_->Note(call_id(), absl::StrCat("the outcome of attempt ", output.attempt, " is ",
                                          client::ToString(output.outcome)));
  }
  return absl::OkStatus();
}

ExitCode Commands::Retrieve() {
  const absl::StatusOr<absl::Time> erased = client_.Retrieve(
      call_id(), [this](const client::ClaimedOutput& output) { return WriteOutput(output); },
      {.wait = line_.wait});
  return erased.ok() ? kExitDone : report_->Error(call_id(), erased.status());
}

ExitCode Commands::Describe() {
  ExitCode code = kExitDone;
  const auto results = client_.DescribeCalls(line_.call_ids);
  for (size_t i = 0; i < results.size(); ++i) {
    absl::Status status = results[i].status();
    if (status.ok()) {
      const bool written = report_->json() ? report_->Object(ToJson(*results[i]))
                                           : report_->Line(DescriptionText(*results[i]));
      if (!written) status = StdoutError();
    }
    if (status.ok()) continue;
    const ExitCode error = report_->Error(line_.call_ids[i], status);
    if (code == kExitDone) code = error;
  }
  return code;
}

ExitCode Commands::Delete() {
  ExitCode code = kExitDone;
  const auto results = client_.DeleteCalls(line_.call_ids);
  for (size_t i = 0; i < results.size(); ++i) {
    const std::string& id = line_.call_ids[i];
    if (!results[i].ok()) {
      const ExitCode error = report_->Error(id, results[i].status());
      if (code == kExitDone) code = error;
    } else if (report_->json()) {
      report_->Object({{"call_id", id}, {"erased", TimeText(*results[i])}});
    }
  }
  return code;
}

}  // namespace mayfly::cli
