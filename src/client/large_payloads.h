// How the methods of Client put, get and retrieve payloads that are too large for a message.
#pragma once

#include <memory>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

#include "base/error.h"
#include "client/core.h"
#include "client/queued_transfer.h"
#include "client/upload_transfer.h"
#include "mayfly/call.h"
#include "mayfly/client_options.h"
#include "mayfly/payload_io.h"

namespace mayfly::client {

template <typename T>
using TransferDone = absl::AnyInvocable<void(absl::StatusOr<T>)>;

// `put` is an Input or Output, here and below.
template <typename Put>
bool IsLarge(const Put& put) {
  return put.payload.data.size() > kMessageDataBytesMax;
}

// Both block.
template <typename Put>
absl::StatusOr<Stored> UploadData(const std::shared_ptr<Core>& core, Put put,
                                  const CallOptions& options) {
  StringSource source(std::exchange(put.payload.data, std::string()));
  return UploadTransfer(core, std::move(put), &source, options).Run();
}
template <typename Put>
absl::StatusOr<Stored> UploadFrom(const std::shared_ptr<Core>& core, Put put, PayloadSource* source,
                                  const CallOptions& options) {
  core->CheckMayWait();
  if (!put.payload.data.empty()) {
    return FieldError("payload.data", absl::StrCat(put.payload.data.size(), " bytes"),
                      "expected none beside a source");
  }
  return UploadTransfer(core, std::move(put), source, options).Run();
}

// On a thread of the transfer pool.
template <typename Put>
void QueueUpload(const std::shared_ptr<Core>& core, Put put, CallOptions options,
                 TransferDone<Stored> done) {
  QueuedTransfer<absl::StatusOr<Stored>>::Start(
      core, std::move(options),
      [put = std::move(put)](const std::shared_ptr<Core>& owner, const CallOptions& rest) mutable {
        return UploadData(owner, std::move(put), rest);
      },
      std::move(done));
}
// Downloads the data of an input whose description came without it. The timeout of the options
// counts from `begun`, a reading of Elapsed().
void QueueInputDownload(const std::shared_ptr<Core>& core, StoredInput input, CallOptions options,
                        absl::Duration begun, TransferDone<StoredInput> done);
// The output stays held, or is released if its data cannot be downloaded.
void QueueOutputDownload(const std::shared_ptr<Core>& core, ClaimedOutput output,
                         const RetrieveOptions& options, TransferDone<ClaimedOutput> done);

// Downloads the data of an output that was claimed without it; blocks. The output stays held, or is
// released if its data cannot be downloaded.
absl::StatusOr<ClaimedOutput> DownloadHeldOutput(const std::shared_ptr<Core>& core,
                                                 const ClaimedOutput& output, absl::Duration lease,
                                                 const CallOptions& options);

CallOptions TransferOptions(const RetrieveOptions& options);

}  // namespace mayfly::client
