// Converts request messages to the store's types. Every field is checked against the ranges in the
// proto's comments before anything happens.
//
// An error is INVALID_ARGUMENT (FIELD_INVALID unless said otherwise). It names the field with its
// place, its value and the expected one: "items[3].ttl is 25h, range is 1s to 24h". Payloads,
// labels and tokens are never repeated, only their sizes.
#pragma once

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/call_id.h"
#include "config/config.h"
#include "mayfly/v1/function_io.pb.h"
#include "store/call_store.h"
#include "store/tenant.h"

namespace mayfly {

// Reserved in a message for everything but payload data: ids, metadata, framing.
inline constexpr uint64_t kMessageOverheadBytes = 1 << 20;
inline constexpr uint64_t kBytesMaxDefault = 3 << 20;
inline constexpr uint64_t kBytesMaxLimit = 64 << 20;

// The place of a value in a request: items[3], call_ids[3]. Without an index it is the only value.
struct FieldPlace {
  absl::string_view list;
  int index = -1;
};

// The source of the ranges. All pointers must outlive the object.
struct ValidationLimits {
  const Config* config = nullptr;
  const Config::TenantRetention* retention = nullptr;
};

absl::StatusOr<CallId> ReadCallId(const std::string& text, const FieldPlace& place);

// The payload's data stays in the item, which must live until the store has sealed it. Besides:
// PAYLOAD_TOO_LARGE, CHECKSUM_MISMATCH. Mints an id where there is none.
absl::StatusOr<NewPut> ReadInputItem(const v1::InputItem& item, const FieldPlace& place,
                                     const ValidationLimits& limits,
                                     absl::FunctionRef<CallId()> mint_call_id);
absl::StatusOr<NewPut> ReadOutputItem(const v1::OutputItem& item, const FieldPlace& place,
                                      const ValidationLimits& limits);

absl::StatusOr<ClaimRef> ReadClaim(const v1::AckItem& item, const FieldPlace& place);
absl::StatusOr<ClaimRef> ReadClaim(const v1::ReleaseItem& item, const FieldPlace& place);
absl::StatusOr<ClaimRef> ReadClaim(const v1::RenewItem& item, const FieldPlace& place);

// The crc32c of the item's payload is that of the data to be uploaded.
absl::StatusOr<NewUpload> ReadUploadHeader(const v1::UploadHeader& header,
                                           const ValidationLimits& limits);
absl::StatusOr<UploadId> ReadUploadId(const std::string& upload_id);
absl::Status CheckUploadSegment(const v1::UploadSegment& segment);
absl::StatusOr<DownloadRequest> ReadDownloadRequest(const v1::DownloadRequest& request);

// GetInputs' max_bytes, limited to what a message can hold.
absl::StatusOr<uint64_t> ReadMaxBytes(uint64_t max_bytes, const Config& config);

// RenewClaims' lease.
absl::StatusOr<int64_t> ReadLeaseMs(bool given, const google::protobuf::Duration& lease,
                                    const Config& config);

// Everything in a ClaimOutputs request except its call ids.
absl::StatusOr<ClaimRequest> ReadClaimRequest(const v1::ClaimOutputsRequest& request,
                                              const Config& config);

absl::StatusOr<SubscribeRequest> ReadSubscriptionOpen(const v1::SubscriptionOpen& open,
                                                      const Config& config);

}  // namespace mayfly
