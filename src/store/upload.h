// One upload, what is asked of it, and a stream's hold of it. See uploads.h.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "base/mutex.h"
#include "crypto/sha256.h"
#include "storage/rows.h"
#include "storage/segments.h"
#include "store/payload.h"
#include "store/quota.h"
#include "store/tenant.h"

namespace mayfly {

// A stream's header.
struct NewUpload {
  UploadId id{};
  CallId call_id;
  PayloadKind kind = PayloadKind::kInput;
  uint32_t attempt = 0;  // outputs only
  int64_t ttl_ms = 0;
  PayloadMetadata metadata;
  bool crc32c_is_known = false;  // that in metadata is the payload's
  uint64_t offset_bytes = 0;     // where the stream's segments begin
  std::optional<uint64_t> size_bytes;
};

struct UploadSegment {
  uint64_t offset_bytes = 0;
  std::string data;  // kSegmentBytes; the last one 1 to kSegmentBytes
};

struct UploadEnd {
  uint64_t size_bytes = 0;
  uint32_t crc32c = 0;
};

struct UploadProgress {
  CallId call_id;
  uint64_t committed_bytes = 0;
  int64_t expire_ms = 0;
};

class UploadStream;

struct BegunUpload {
  std::shared_ptr<UploadStream> stream;  // null when nothing is to be sent
  int64_t deadline_ms = 0;               // then; 0 when the call was consumed since
};

using BeginUploadDone = absl::AnyInvocable<void(absl::StatusOr<BegunUpload>)>;
// The payload's deadline, 0 when the call was consumed since.
using FinishUploadDone = absl::AnyInvocable<void(absl::StatusOr<int64_t>)>;

class Uploads;

struct Upload {
  using Step = absl::AnyInvocable<void()>;

  Upload(Tenant* tenant_of_it, const UploadId& id) : tenant(tenant_of_it) { stored.id = id; }

  Tenant* const tenant;
  std::atomic<int64_t> active_ms{0};  // when the last segment came, on elapsed time
  int64_t attached_ms = 0;            // the running step's: when a stream had it last, likewise
  std::atomic<uint64_t> turn{0};      // its number in UploadTurns, from its begin on
  // To an older one, for lack of room: it is erased by its next step.
  std::atomic<bool> gives_way{false};
  // Set by the committer of its call's shard, under keep_mutex: what is not on the disk yet does not
  // get there any more.
  std::atomic<bool> call_has_ended{false};
  Mutex keep_mutex;              // while its row is being written
  std::atomic<int> finishes{0};  // under way: their stream may be gone already

  Mutex mutex;
  std::deque<Step> steps GUARDED_BY(mutex);
  bool is_stepping GUARDED_BY(mutex) = false;

  // The running step's.
  StoredUpload stored;
  std::optional<SecretBytes> secret;  // until it is in its slot
  PayloadMetadata metadata;
  std::optional<uint64_t> announced_bytes;
  Reservation reservation;
  std::weak_ptr<UploadStream> stream;  // that has it, as long as it is there
  uint64_t holder = 0;                 // its number
  bool has_begun = false;
  bool has_ended = false;
  bool is_restored = true;

  // What has come.
  uint64_t committed_bytes = 0;
  uint32_t segment_count = 0;
  uint32_t crc32c = 0;
  Sha256 commitments;
  std::string small;      // a first segment that is short enough for a row, and is not written
  bool has_last = false;  // a segment shorter than kSegmentBytes
};

// Dropping it leaves the upload to be gone on with, but for what was not written. Callbacks run on
// worker threads. To be used for one thing at a time, but for a read-ahead of segments: they are
// taken in the order given.
class UploadStream {
 public:
  UploadStream(Uploads* uploads, std::shared_ptr<Upload> upload, uint64_t number)
      : uploads_(uploads), upload_(std::move(upload)), number_(number) {}

  // ABORTED (UPLOAD_TAKEN_OVER), NOT_FOUND (UPLOAD_UNKNOWN), OUT_OF_RANGE (OFFSET_MISMATCH,
  // PAYLOAD_TOO_LARGE), RESOURCE_EXHAUSTED, UNAVAILABLE. The upload stays as it was.
  void Append(UploadSegment segment, absl::AnyInvocable<void(absl::Status)> done);
  // The same, and the errors of a put. INVALID_ARGUMENT (CHECKSUM_MISMATCH) ends the upload, as a
  // refusal by the rules does; after RESOURCE_EXHAUSTED and UNAVAILABLE it can be finished again.
  void Finish(const UploadEnd& end, FinishUploadDone done);

 private:
  Uploads* const uploads_;
  const std::shared_ptr<Upload> upload_;
  const uint64_t number_;
};

}  // namespace mayfly
