#include "store/downloads.h"

#include <utility>

namespace mayfly {

void Downloads::Begin(Tenant* tenant, const DownloadRequest& request, Done done) {
  auto download = std::make_shared<Download>(context_, &router_, tenant, request);
  download->Authorize([this, download, done = std::move(done)](OperationResult result) mutable {
    if (!result.status.ok()) return done(std::move(result.status));
    router_.RunOnWorker(
        [this, download = std::move(download), stored = *result.payload,
         done = std::move(done)]() mutable { Open(std::move(download), stored, std::move(done)); });
  });
}

void Downloads::Open(std::shared_ptr<Download> download, const StoredPayload& stored, Done done) {
  const absl::Status status = download->Open(stored);
  if (absl::IsNotFound(status)) {
    // It ended between the decision and the reading.
    return download->Explain(
        [done = std::move(done)](absl::Status reason) mutable { done(std::move(reason)); });
  }
  if (!status.ok()) return done(status);
  if (download->kind() == PayloadKind::kOutput) {
    // Acks are compared with what was sent.
    router_.CommitterOf(download->key().id)
        .NoteSent({{.key = download->key(),
                    .fence = download->fence(),
                    .crc32c = download->metadata().crc32c}});
  }
  done(std::move(download));
}

}  // namespace mayfly
