#include "client/large_payloads.h"

#include <algorithm>
#include <utility>

#include "client/awaited_outputs.h"
#include "client/download_transfer.h"
#include "client/time_budget.h"

namespace mayfly::client {
namespace {

void GiveBack(const std::shared_ptr<Core>& core, const Claim& claim) {
  core->awaited_outputs()->holdings()->Release(core, claim, core->options().timeout, std::nullopt,
                                               [](const absl::Status&) {});
}

}  // namespace

CallOptions TransferOptions(const RetrieveOptions& options) {
  return {.timeout = options.timeout,
          .cancellation = options.cancellation,
          .progress = options.progress};
}

absl::StatusOr<ClaimedOutput> DownloadHeldOutput(const std::shared_ptr<Core>& core,
                                                 const ClaimedOutput& output, absl::Duration lease,
                                                 const CallOptions& options) {
  absl::StatusOr<ClaimedOutput> whole =
      DownloadOutputToMemory(core, output, core->options().data_bytes_max, options);
  if (whole.ok()) {
    core->awaited_outputs()->holdings()->Hold(core, *whole, lease);
  } else {
    GiveBack(core, output.claim);
  }
  return whole;
}

void QueueInputDownload(const std::shared_ptr<Core>& core, StoredInput input, CallOptions options,
                        absl::Duration begun, TransferDone<StoredInput> done) {
  if (options.timeout > absl::ZeroDuration()) {
    options.timeout = std::max(absl::Milliseconds(1), begun + options.timeout - Elapsed());
  }
  QueuedTransfer<absl::StatusOr<StoredInput>>::Start(
      core, std::move(options),
      [input = std::move(input)](const std::shared_ptr<Core>& owner, const CallOptions& rest) {
        return DownloadInputToMemory(owner, input.call_id, input.size_bytes, rest);
      },
      std::move(done));
}

void QueueOutputDownload(const std::shared_ptr<Core>& core, ClaimedOutput output,
                         const RetrieveOptions& options, TransferDone<ClaimedOutput> done) {
  auto give_up = [claim = output.claim](const std::shared_ptr<Core>& owner) {
    GiveBack(owner, claim);
  };
  QueuedTransfer<absl::StatusOr<ClaimedOutput>>::Start(
      core, TransferOptions(options),
      [output = std::move(output), lease = options.lease](const std::shared_ptr<Core>& owner,
                                                          const CallOptions& rest) {
        return DownloadHeldOutput(owner, output, lease, rest);
      },
      std::move(done), std::move(give_up));
}

}  // namespace mayfly::client
