// The part of the CallStore that moves payloads a segment at a time.

#include <utility>

#include "base/error.h"
#include "store/call_store.h"

namespace mayfly {

UploadsContext CallStore::ContextOfUploads() {
  return UploadsContext{
      .storage = storage_.get(),
      .cipher = &cipher_,
      .time = time_.get(),
      .tenants = &tenants_,
      .payload_bytes_max = config_.limits.payload_bytes_max,
      .uploads_max = config_.limits.uploads_max,
      .idle_timeout_ms = absl::ToInt64Milliseconds(config_.limits.upload_idle_timeout),
      .draining = &draining_,
      .unsynced_rows = &unsynced_rows_,
      .on_fatal = &on_fatal_,
      .run = [this](absl::AnyInvocable<void()> work) { RunOnWorker(std::move(work)); },
      .submit =
          [this](Tenant* tenant, const CallKey& key, Operation operation,
                 std::unique_ptr<PutContent> content,
                 absl::AnyInvocable<void(OperationResult)> done) {
            SubmitOne(tenant, key, std::move(operation), std::move(content), std::move(done));
          },
  };
}

void CallStore::RunOnWorker(absl::AnyInvocable<void()> work) {
  Begin();
  workers_->Run([this, work = std::move(work)]() mutable {
    work();
    // What it holds may be the last of it, and belongs to the store.
    work = nullptr;
    End();
  });
}

void CallStore::SubmitOne(Tenant* tenant, const CallKey& key, Operation operation,
                          std::unique_ptr<PutContent> content,
                          absl::AnyInvocable<void(OperationResult)> done) {
  auto batch = MakeBatch(1, [done = std::move(done)](std::vector<OperationResult> results) mutable {
    done(std::move(results.front()));
  });
  std::vector<Request> requests;
  requests.push_back(Request{.tenant = tenant,
                             .key = key,
                             .operation = std::move(operation),
                             .content = std::move(content),
                             .batch = std::move(batch),
                             .index = 0});
  Submit(std::move(requests));
}

void CallStore::BeginUpload(Tenant* tenant, NewUpload upload, BeginUploadDone done) {
  uploads_->Begin(tenant, std::move(upload), std::move(done));
}

void CallStore::QueryUpload(Tenant* tenant, const UploadId& id,
                            Callback<absl::StatusOr<UploadProgress>> done) {
  uploads_->Query(tenant, id, std::move(done));
}

void CallStore::BeginDownload(Tenant* tenant, const DownloadRequest& request,
                              Callback<absl::StatusOr<std::shared_ptr<Download>>> done) {
  const CallKey key = {.id = request.call_id, .tenant = tenant->number};
  const int64_t lease_ms = absl::ToInt64Milliseconds(config_.claims.lease_default);
  const auto operation = [request, lease_ms]() -> Operation {
    if (request.kind == PayloadKind::kInput) return GetInput{};
    return RenewClaim{
        .token = request.token, .fence = request.fence, .lease_ms = lease_ms, .by_download = true};
  };
  const auto authorize = [this, tenant, key,
                          operation](absl::AnyInvocable<void(OperationResult)> decided) {
    SubmitOne(tenant, key, operation(), /*content=*/nullptr, std::move(decided));
  };
  auto download = std::make_shared<Download>(
      DownloadContext{
          .storage = storage_.get(),
          .cipher = &cipher_,
          .time = time_.get(),
          .lease_ms = lease_ms,
          .run = [this](absl::AnyInvocable<void()> work) { RunOnWorker(std::move(work)); },
          .authorize = authorize,
      },
      tenant, request);
  authorize(
      [this, tenant, request, download, done = std::move(done)](OperationResult result) mutable {
        if (!result.status.ok()) return done(std::move(result.status));
        RunOnWorker([this, tenant, request, download, stored = *result.payload,
                     done = std::move(done)]() mutable {
          const absl::Status status = download->Open(stored);
          if (absl::IsNotFound(status)) {
            // It went between the decision and the reading.
            return download->Explain(
                [done = std::move(done)](absl::Status why) mutable { done(std::move(why)); });
          }
          if (!status.ok()) return done(status);
          if (request.kind == PayloadKind::kOutput) {
            // Acks are checked against what was sent.
            shards_[ShardOf(request.call_id)]->NoteSent({{.key = download->key(),
                                                          .fence = request.fence,
                                                          .crc32c = download->metadata().crc32c}});
          }
          done(std::move(download));
        });
      });
}

}  // namespace mayfly
