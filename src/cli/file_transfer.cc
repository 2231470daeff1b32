#include "cli/file_transfer.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "cli/progress_line.h"
#include "cli/report.h"

namespace mayfly::cli {
namespace {

// After a crash between Place and Remove. OK when the ack is answered, also if it has been before.
absl::Status AcknowledgeEarlier(const client::Client& client,
                                const client::RetrieveOptions& options, KeptDownload* download) {
  RETURN_IF_ERROR(download->Place());  // its directory may not have been synced
  if (options.before_ack) RETURN_IF_ERROR(options.before_ack(*download->complete()));
  return client
      .AckOutput(download->complete()->claim,
                 {.timeout = options.timeout, .cancellation = options.cancellation})
      .status();
}

absl::StatusOr<client::ClaimedOutput> Retrieve(const client::Client& client,
                                               const std::string& call_id,
                                               client::RetrieveOptions options,
                                               client::PayloadSink* sink, KeptDownload* download) {
  absl::StatusOr<std::string> token = download->PrepareClaim();
  RETURN_IF_ERROR(token.status());
  options.claim_token = *std::move(token);
  options.before_ack = [download,
                        then = std::move(options.before_ack)](const client::ClaimedOutput& output) {
    RETURN_IF_ERROR(download->RecordComplete(output));
    RETURN_IF_ERROR(download->Place());
    return then ? then(output) : absl::OkStatus();
  };
  absl::StatusOr<client::Retrieved> retrieved = client.RetrieveInto(call_id, sink, options);
  RETURN_IF_ERROR(retrieved.status());
  return std::move(retrieved->output);
}

}  // namespace

absl::Status EndDownload(const absl::Status& status, KeptDownload* download) {
  const auto is_in_place = download->IsInPlace();
  const uint64_t bytes = download->PartBytes();
  if (download->failed() || absl::IsNotFound(status) || absl::IsDataLoss(status)) {
    download->Remove();
    if (!is_in_place.ok() || !*is_in_place) return status;
    return Reworded(status, absl::StrCat(status.message(),
                                         "; the file has the whole output, which was received "
                                         "before and not acknowledged"));
  }
  if (is_in_place.ok() && *is_in_place) {
    return Reworded(status, absl::StrCat(status.message(),
                                         "; the file has the whole output, and the same command "
                                         "acknowledges it"));
  }
  if (bytes > 0) {
    return Reworded(status, absl::StrCat(status.message(), "; ", BytesText(bytes),
                                         " are kept, and the same command resumes"));
  }
  // The claim may last. The same command takes it over.
  const bool may_last = absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
  if (!may_last || !download->may_hold_claim()) download->Remove();
  return status;
}

absl::StatusOr<client::ClaimedOutput> RetrieveIntoFile(const client::Client& client,
                                                       const std::string& call_id,
                                                       const FileTarget& target,
                                                       client::RetrieveOptions options,
                                                       Waiting* waiting) {
  auto opened = KeptDownload::Open(target.file_system, target.path, call_id, DirectorySync::kNow);
  RETURN_IF_ERROR(opened.status());
  KeptDownload* const download = opened->get();
  const absl::StatusOr<bool> is_in_place = download->IsInPlace();
  RETURN_IF_ERROR(is_in_place.status());
  if (*is_in_place) {
    const absl::Status acked = AcknowledgeEarlier(client, options, download);
    if (acked.ok()) {
      client::ClaimedOutput output = *download->complete();
      download->Remove();
      return output;
    }
    // The claim has lapsed: the output is claimed again, and compared with the file.
    if (ReasonOf(acked) != Reason::kClaimLost) return EndDownload(acked, download);
  }
  SinkAfterWaiting sink(download, waiting);
  absl::StatusOr<client::ClaimedOutput> output =
      Retrieve(client, call_id, std::move(options), &sink, download);
  if (!output.ok()) return EndDownload(output.status(), download);
  download->Remove();
  return output;
}

absl::StatusOr<client::StoredInput> GetInputIntoFile(const client::Client& client,
                                                     const std::string& call_id,
                                                     const FileTarget& target,
                                                     const client::CallOptions& options) {
  auto opened = KeptDownload::Open(target.file_system, target.path, call_id, DirectorySync::kNow);
  RETURN_IF_ERROR(opened.status());
  KeptDownload* const download = opened->get();
  absl::StatusOr<client::StoredInput> input = client.DownloadInput(call_id, download, options);
  absl::Status status = input.status();
  if (status.ok()) status = download->Place();
  if (!status.ok()) return EndDownload(status, download);
  download->Remove();
  return input;
}

}  // namespace mayfly::cli
