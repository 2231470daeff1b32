#include "cli/commands.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "cli/call_list.h"
#include "cli/descriptor_sink.h"
#include "cli/json.h"
#include "cli/map_retrieval.h"
#include "cli/output_file.h"
#include "cli/payload_file.h"
#include "cli/put_many.h"
#include "cli/reach.h"
#include "cli/resume_command.h"

namespace mayfly::cli {
namespace {

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
  if (call.lease_end) absl::StrAppend(&text, ", claim until ", TimeText(*call.lease_end));
  if (call.end) absl::StrAppend(&text, " since ", TimeText(*call.end));
  return text;
}

}  // namespace

ExitCode Commands::Run() {
  if (!line_.output_file.empty()) {
    const absl::Status status = CheckOutputPath("--output", line_.output_file);
    if (!status.ok()) return report()->Refuse(status);
  }
  switch (line_.verb) {
    case Verb::kPutInput:
      return line_.payload_paths.empty() ? PutInput() : PutMany(client_, line_, context_).Run();
    case Verb::kGetInput:
      return GetInput();
    case Verb::kPutOutput:
      return PutOutput();
    case Verb::kRetrieve:
      return line_.list_file.empty() ? Retrieve() : MapRetrieval(client_, line_, context_).Run();
    case Verb::kDescribe:
      return ForEachCall(&Commands::Describe);
    case Verb::kDelete:
      return ForEachCall(&Commands::Delete);
    case Verb::kInfo:
      return Info();
  }
  return kExitUsage;
}

client::Progress Commands::NewProgress() const {
  return [bar = context_.bar](uint64_t bytes, std::optional<uint64_t> bytes_total) {
    if (bytes_total.value_or(UINT64_MAX) > client::kMessageDataBytesMax) {
      bar->ShowBytes(bytes, bytes_total);
    }
  };
}

client::CallOptions Commands::TransferOptions() const {
  return {.cancellation = context_.interruption->cancellation(), .progress = NewProgress()};
}

client::RetrieveOptions Commands::RetrievalOptions() const {
  return {.wait = line_.wait,
          .cancellation = context_.interruption->cancellation(),
          .progress = NewProgress()};
}

ExitCode Commands::ReportError(const std::string& call_id, const absl::Status& status,
                               const std::string& resume) {
  context_.bar->Hide();
  return report()->Error(call_id, status, resume);
}

ExitCode Commands::ReportStored(const absl::StatusOr<client::Stored>& stored,
                                const std::string& call_id) {
  const absl::Status status = StoredStatus(stored);
  if (!status.ok()) {
    const bool is_resumable = line_.verb == Verb::kPutInput && IsResumable(status);
    return ReportError(call_id, status,
                       is_resumable ? ResumeCommand(line_, call_id, line_.payload_file) : "");
  }
  context_.bar->End();
  absl::Status written;
  if (report()->json()) {
    written = report()->Object(ToJson(*stored));
  } else if (line_.verb == Verb::kPutInput) {
    written = report()->Line(stored->call_id);
  }
  return written.ok() ? kExitDone : report()->Error(call_id, written);
}

ExitCode Commands::PutInput() {
  const auto source =
      OpenPayload(line_.payload_file, context_.standard_input, context_.interruption);
  if (!source.ok()) return report()->Refuse(source.status());
  // Generated here, so that an error message names the call even if the server may have created it.
  client::Input input{.call_id = line_.call_ids.empty() ? client::MintCallId() : line_.call_ids[0],
                      .payload = line_.metadata,
                      .ttl = line_.ttl};
  const absl::StatusOr<bool> fits = ReadIfItFits(source->get(), &input.payload.data);
  if (absl::IsCancelled(fits.status())) return report()->Refuse(fits.status());
  if (!fits.ok()) return ReportError(input.call_id, fits.status());
  const absl::StatusOr<client::Stored> stored = PutWithId(&input, source->get(), *fits);
  return ReportStored(stored, input.call_id);
}

absl::StatusOr<client::Stored> Commands::PutWithId(client::Input* input,
                                                   client::PayloadSource* source, bool fits) {
  const auto put = [&] {
    return fits ? client_.PutInput(*input, TransferOptions())
                : client_.UploadInput(*input, source, TransferOptions());
  };
  absl::StatusOr<client::Stored> stored = put();
  const bool may_have_another_id = line_.call_ids.empty();
  if (!may_have_another_id || ReasonOf(stored.status()) != Reason::kIdOutsideWindow) return stored;
  input->call_id = client::MintCallId();  // by the server's time, which is known now
  return put();
}

ExitCode Commands::PutOutput() {
  const auto source = OpenPayload(line_.payload_file, context_.standard_input);
  if (!source.ok()) return report()->Refuse(source.status());
  client::Output output{.call_id = call_id(),
                        .attempt = line_.attempt,
                        .outcome = line_.outcome,
                        .payload = line_.metadata,
                        .ttl = line_.ttl};
  const absl::StatusOr<bool> fits = ReadIfItFits(source->get(), &output.payload.data);
  if (!fits.ok()) return ReportError(call_id(), fits.status());
  return ReportStored(
      *fits ? client_.PutOutput(std::move(output), TransferOptions())
            : client_.UploadOutput(std::move(output), source->get(), TransferOptions()),
      call_id());
}

ExitCode Commands::GetInputAsJson() {
  const absl::StatusOr<client::StoredInput> input = client_.GetInput(call_id(), TransferOptions());
  if (!input.ok()) return ReportError(call_id(), input.status());
  const absl::Status written = report()->Object(ToJson(*input, /*with_data=*/true));
  return written.ok() ? kExitDone : report()->Error(call_id(), written);
}

ExitCode Commands::GetInput() {
  if (report()->json() && line_.output_file.empty()) return GetInputAsJson();
  DescriptorSink sink(context_.standard_output, context_.interruption);
  const absl::StatusOr<client::StoredInput> input =
      line_.output_file.empty()
          ? client_.DownloadInput(call_id(), &sink, TransferOptions())
          : GetInputIntoFile(client_, call_id(), OutputTarget(), TransferOptions());
  if (!input.ok()) return ReportError(call_id(), input.status());
  context_.bar->End();
  if (!report()->json()) return kExitDone;
  const absl::Status written = report()->Object(ToJson(*input, /*with_data=*/false));
  return written.ok() ? kExitDone : report()->Error(call_id(), written);
}

ExitCode Commands::RetrieveAsJson() {
  ExitCode outcome = kExitDone;
  const absl::StatusOr<absl::Time> erased = client_.Retrieve(
      call_id(),
      [&](const client::ClaimedOutput& output) {
        outcome = report()->NoteOutcome(output);
        return report()->Object(ToJson(output, /*with_data=*/true));
      },
      RetrievalOptions());
  return erased.ok() ? outcome : ReportError(call_id(), erased.status());
}

ExitCode Commands::Retrieve() {
  if (const absl::Status status = ReachServer(client_, call_id(), line_, context_); !status.ok()) {
    return ReportError(call_id(), status);
  }
  if (report()->json() && line_.output_file.empty()) return RetrieveAsJson();
  Waiting waiting(context_.bar);
  const absl::StatusOr<client::ClaimedOutput> output =
      line_.output_file.empty()
          ? RetrieveToStdout(&waiting)
          : RetrieveIntoFile(client_, call_id(), OutputTarget(), RetrievalOptions(), &waiting);
  waiting.Stop();
  if (!output.ok()) return ReportError(call_id(), output.status());
  context_.bar->End();
  return ReportRetrieved(*output);
}

absl::StatusOr<client::ClaimedOutput> Commands::RetrieveToStdout(Waiting* waiting) {
  DescriptorSink stdout_sink(context_.standard_output, context_.interruption);
  SinkAfterWaiting sink(&stdout_sink, waiting);
  absl::StatusOr<client::Retrieved> retrieved =
      client_.RetrieveInto(call_id(), &sink, RetrievalOptions());
  RETURN_IF_ERROR(retrieved.status());
  return std::move(retrieved->output);
}

ExitCode Commands::ReportRetrieved(const client::ClaimedOutput& output) {
  if (report()->json()) {
    const absl::Status written = report()->Object(ToJson(output, /*with_data=*/false));
    if (!written.ok()) return report()->Error(call_id(), written);
  }
  return report()->NoteOutcome(output);
}

ExitCode Commands::ForEachCall(ExitCode (Commands::*command)(const std::vector<std::string>&)) {
  if (line_.list_file.empty()) return (this->*command)(line_.call_ids);
  const auto call_ids =
      ReadCallList(line_.list_file, context_.standard_input, context_.interruption);
  if (!call_ids.ok()) return report()->Refuse(call_ids.status());
  return (this->*command)(*call_ids);
}

ExitCode Commands::Describe(const std::vector<std::string>& call_ids) {
  ExitCode code = kExitDone;
  const auto results = client_.DescribeCalls(call_ids);
  for (size_t i = 0; i < results.size(); ++i) {
    if (results[i].ok()) {
      const absl::Status written = report()->json() ? report()->Object(ToJson(*results[i]))
                                                    : report()->Line(DescriptionText(*results[i]));
      if (!written.ok()) return report()->Error("", written);
      continue;
    }
    const ExitCode error = report()->Error(call_ids[i], results[i].status());
    if (code == kExitDone) code = error;
  }
  return code;
}

ExitCode Commands::Info() {
  const auto info = client_.GetServerInfo();
  if (!info.ok()) return report()->Error("", info.status());
  const nlohmann::json object = ToJson(*info);
  // For people, the same facts with a line each.
  absl::Status written = report()->json() ? report()->Object(object) : absl::OkStatus();
  if (!report()->json()) {
    for (const auto& [name, value] : object.items()) {
      const std::string text = value.is_string() ? value.get<std::string>()
                               : value.is_null() ? "none"
                                                 : value.dump();
      if (written.ok()) written = report()->Line(absl::StrCat(name, ": ", text));
    }
  }
  return written.ok() ? kExitDone : report()->Error("", written);
}

ExitCode Commands::Delete(const std::vector<std::string>& call_ids) {
  ExitCode code = kExitDone;
  absl::Status written;
  const auto results = client_.DeleteCalls(call_ids);
  for (size_t i = 0; i < results.size(); ++i) {
    const std::string& id = call_ids[i];
    if (!results[i].ok()) {
      const ExitCode error = report()->Error(id, results[i].status());
      if (code == kExitDone) code = error;
    } else if (report()->json() && written.ok()) {
      written = report()->Object({{"call_id", id}, {"erased", TimeText(*results[i])}});
    }
  }
  if (written.ok()) return code;
  const ExitCode error = report()->Error("", written);
  return code == kExitDone ? error : code;
}

}  // namespace mayfly::cli
