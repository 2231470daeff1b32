// Claiming an output again whose claim was lost: the stream broke, the server restarted, or the
// lease lapsed.
//
// The claim token stays the same, so that the server recognises an ack that it has carried out
// after all. Callers compare the versions, because a later attempt may have replaced the output
// meanwhile.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "base/error.h"
#include "mayfly/call.h"
#include "mayfly/client_options.h"

namespace mayfly::client {

// Every round has lost a claim to a restart or a lapse. A server that never lets an ack through is
// not worth more of them.
inline constexpr int kReclaimsMax = 10;

// Tells an output from the one that replaced it.
struct OutputVersion {
  uint32_t attempt = 0;
  uint64_t size_bytes = 0;
  friend bool operator==(const OutputVersion&, const OutputVersion&) = default;
};

inline OutputVersion VersionOf(const ClaimedOutput& output) {
  return {.attempt = output.attempt, .size_bytes = output.size_bytes};
}

inline absl::Status ClaimLostError(absl::string_view why) {
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kClaimLost,
                   absl::StrCat("the claim was lost, and ", why));
}

// Of one output, without its data.
inline ClaimOptions ReclaimOptions(std::string token, absl::Duration timeout) {
  return {.count_max = 1,
          .bytes_max = 1,
          .claim_larger = true,
          .token = std::move(token),
          .timeout = std::max(absl::Milliseconds(1), timeout)};
}

// The output of a claim of one call; `if_none` when there is nothing to claim.
inline absl::StatusOr<ClaimedOutput> OnlyOutput(absl::StatusOr<ClaimedOutputs> claimed,
                                                const absl::Status& if_none) {
  RETURN_IF_ERROR(claimed.status());
  if (!claimed->errors.empty()) return claimed->errors[0].status;
  if (claimed->outputs.empty()) return if_none;
  return std::move(claimed->outputs[0]);
}

}  // namespace mayfly::client
