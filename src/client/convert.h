// Converts between the public values of mayfly/call.h and the messages of the protocol.
//
// Payload bytes are moved, never copied. ToProto computes checksums, and FromProto verifies them.
#pragma once

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include "mayfly/call.h"
#include "mayfly/v1/function_io.pb.h"

namespace mayfly::client {

absl::Duration FromProto(const google::protobuf::Duration& duration);
absl::Time FromProto(const google::protobuf::Timestamp& time);
void ToProto(absl::Duration duration, google::protobuf::Duration* out);

void ToProto(Payload payload, v1::Payload* out);
// DATA_LOSS (CHECKSUM_MISMATCH) when the data does not match its checksum.
absl::StatusOr<Payload> FromProto(v1::Payload* payload);
// The payload without its data, and without verifying the checksum: the data was received apart.
Payload WithoutData(v1::Payload* payload);

// Values that this version does not know become kFailure.
Outcome OutcomeFromProto(v1::Outcome outcome);

void ToProto(Input input, v1::InputItem* out);
void ToProto(Output output, v1::OutputItem* out);

// AckItem, ReleaseItem and RenewItem name a claim with the same three fields.
template <typename Item>
void ToProto(const Claim& claim, Item* out) {
  out->set_call_id(claim.call_id);
  out->set_claim_token(claim.token);
  out->set_fence(claim.fence);
  if constexpr (requires { out->set_crc32c(0); }) {
    if (claim.crc32c.has_value()) out->set_crc32c(*claim.crc32c);
  }
}

// `token` is the claim token of the poll or stream. An output without a payload has data_omitted.
absl::StatusOr<ClaimedOutput> FromProto(const std::string& token, v1::ClaimedOutput* output);

CallDescription FromProto(const v1::CallDescription& description);

ServerInfo FromProto(const v1::GetServerInfoResponse& info);

}  // namespace mayfly::client
