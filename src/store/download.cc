#include "store/download.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/bound.h"
#include "base/error.h"
#include "crypto/chunked_aead.h"

namespace mayfly {
namespace {

// A lease is prolonged when a third of it has passed.
constexpr int64_t kRenewalsPerLease = 3;

}  // namespace

int64_t Download::lease_ms() const {
  return absl::ToInt64Milliseconds(context_.config.claims.lease_default);
}

void Download::Authorize(absl::AnyInvocable<void(OperationResult)> done) {
  Operation operation = GetInput{};
  if (kind_ == PayloadKind::kOutput) {
    operation =
        RenewClaim{.token = token_, .fence = fence_, .lease_ms = lease_ms(), .by_download = true};
  }
  router_.SubmitOne(tenant_, key_, std::move(operation), /*content=*/nullptr, std::move(done));
}

absl::Status Download::Open(const StoredPayload& stored) {
  stored_ = stored;
  renewed_ms_ = context_.time.Read().elapsed_ms;
  sees_all_ = offset_bytes_ == 0;
  if (offset_bytes_ > stored.size_bytes) {
    absl::Status error = MakeError(absl::StatusCode::kOutOfRange, Reason::kOffsetMismatch,
                                   absl::StrCat("offset_bytes is ", offset_bytes_,
                                                ", the payload has ", stored.size_bytes, " bytes"));
    return WithBound(WithMetadata(std::move(error), "field", "offset_bytes"),
                     {.value = absl::StrCat(offset_bytes_),
                      .limit = absl::StrCat(stored.size_bytes),
                      .unit = "bytes"});
  }
  if (!TakeRoom()) return NoRoomError();
  const PayloadRef ref = {.key = key_, .kind = kind_, .slot = stored.slot};
  const auto rows = context_.storage.ReadRows({&ref, 1});
  RETURN_IF_ERROR(rows[0].status());
  const auto secret = context_.storage.ReadSecret(stored.slot);
  RETURN_IF_ERROR(secret.status());
  if (stored.segment_count > 0) {
    auto header = context_.cipher.OpenHeader(key_, kind_, stored, *secret, *rows[0]);
    RETURN_IF_ERROR(header.status());
    metadata_ = std::move(header->metadata);
    expected_commitments_ = header->commitments;
    return absl::OkStatus();
  }
  const auto no_segments = [](uint32_t) { return absl::InternalError("it has no segments"); };
  auto payload = context_.cipher.OpenPayload(key_, kind_, stored, *secret, *rows[0], no_segments);
  RETURN_IF_ERROR(payload.status());
  metadata_ = std::move(payload->metadata);
  small_ = std::move(payload->data);
  return absl::OkStatus();
}

// For the segment that is being sent, and the next one.
bool Download::TakeRoom() {
  if (taker_ == nullptr) return true;
  return taker_->Take(
      {.generation = stored_.slot.generation,
       .held_bytes = std::min(stored_.size_bytes, 2 * kSegmentBytes),
       .until_ms = ReadableUntilMs(stored_, RetentionContext(*tenant_, context_.time.Read()))});
}

bool Download::MustRenew() const {
  if (kind_ != PayloadKind::kOutput) return false;
  return context_.time.Read().elapsed_ms - renewed_ms_ >= lease_ms() / kRenewalsPerLease;
}

void Download::Read(Done done) {
  auto self = shared_from_this();
  if (!MustRenew()) {
    return router_.RunOnWorker(
        [self, done = std::move(done)]() mutable { self->ReadNow(std::move(done)); });
  }
  renewed_ms_ = context_.time.Read().elapsed_ms;
  Authorize([self, done = std::move(done)](OperationResult result) mutable {
    self->router_.RunOnWorker(
        [self, status = std::move(result.status), done = std::move(done)]() mutable {
          if (!status.ok()) return done(std::move(status));
          self->ReadNow(std::move(done));
        });
  });
}

void Download::ReadNow(Done done) {
  if (offset_bytes_ == stored_.size_bytes) {
    const absl::Status status = CheckCommitments();
    if (!status.ok()) return done(status);
    return done(std::string());
  }
  absl::StatusOr<std::string> data = ReadSegment();
  if (absl::IsNotFound(data.status())) {
    return Explain([done = std::move(done)](absl::Status why) mutable { done(std::move(why)); });
  }
  if (data.ok()) offset_bytes_ += data->size();
  done(std::move(data));
}

absl::StatusOr<std::string> Download::ReadSegment() {
  if (!IsReadable(stored_, RetentionContext(*tenant_, context_.time.Read()))) {
    return absl::NotFoundError("the payload is past its deadline");
  }
  const auto secret = context_.storage.ReadSecret(stored_.slot);
  RETURN_IF_ERROR(secret.status());
  if (stored_.segment_count == 0) return small_.substr(offset_bytes_);
  const uint32_t number = static_cast<uint32_t>(offset_bytes_ / kSegmentBytes);
  const auto segment = context_.storage.ReadSegment(key_, stored_.slot, number);
  RETURN_IF_ERROR(segment.status());
  auto data = context_.cipher.OpenSegment(key_, kind_, stored_, *secret, number, *segment);
  RETURN_IF_ERROR(data.status());
  commitments_.Update(CommitmentOf(segment->bytes()));
  const uint64_t begin = number * kSegmentBytes;
  const uint64_t size = std::min(kSegmentBytes, stored_.size_bytes - begin);
  if (data->size() != size) return DoesNotVerify("a segment has another size");
  if (offset_bytes_ > begin) data->erase(0, offset_bytes_ - begin);
  return data;
}

absl::Status Download::CheckCommitments() {
  if (!sees_all_ || stored_.segment_count == 0) return absl::OkStatus();
  Sha256 commitments = commitments_;
  if (commitments.Finish() == expected_commitments_) return absl::OkStatus();
  return DoesNotVerify("its segments are not those that were put");
}

void Download::Explain(absl::AnyInvocable<void(absl::Status)> done) {
  Authorize([self = shared_from_this(), done = std::move(done)](OperationResult result) mutable {
    absl::Status status = std::move(result.status);
    if (status.ok()) {
      status = MakeError(absl::StatusCode::kDataLoss, Reason::kAuthenticationFailed,
                         "the stored payload is missing");
    }
    self->router_.RunOnWorker([status = std::move(status), done = std::move(done)]() mutable {
      done(std::move(status));
    });
  });
}

}  // namespace mayfly
