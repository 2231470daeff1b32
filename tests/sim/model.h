// One call as an onlooker knows it who has seen every answer: the naive model of call/spec.h, with the
// few facts that its table leaves out, such as when things were stored and how long a lease runs.
//
// Knows nothing of shards, groups, rows or slots. Plain values.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "base/error.h"
#include "call/operation.h"

namespace mayfly::sim {

// The limits that the simulated store runs with, in milliseconds.
inline constexpr int64_t kTombstoneTtlMs = 15 * 60'000;
inline constexpr int64_t kIdWindowMs = 5 * 60'000;
inline constexpr int64_t kLeaseTotalMaxMs = 60 * 60'000;

struct ModelPayload {
  uint64_t put = 0;  // the operation that brought it
  uint32_t content = 0;
  uint32_t attempt = 0;
  int64_t deadline_ms = 0;
  friend auto operator<=>(const ModelPayload&, const ModelPayload&) = default;
};

struct ModelClaim {
  uint32_t token = 0;
  uint64_t made_by = 0;  // the operation
  uint64_t fence = 0;    // 0 until an answer has told it
  int64_t claimed_ms = 0;
  int64_t lease_end_ms = 0;
  friend auto operator<=>(const ModelClaim&, const ModelClaim&) = default;
};

struct ModelEnd {
  EndReason reason = EndReason::kExpired;
  uint32_t token = 0;  // of the ack
  int64_t ended_ms = 0;
  friend auto operator<=>(const ModelEnd&, const ModelEnd&) = default;
};

struct ModelCall {
  std::optional<ModelPayload> input;
  std::optional<ModelPayload> output;
  std::optional<ModelClaim> claim;
  std::optional<ModelEnd> end;
  friend auto operator<=>(const ModelCall&, const ModelCall&) = default;
};

enum class Kind {
  kPutInput,
  kGetInput,
  kPutOutput,
  kClaim,
  kAck,
  kRelease,
  kRenew,
  kDescribe,
  kDelete
};

struct Operation {
  uint64_t number = 0;
  Kind kind = Kind::kDescribe;
  int64_t id_time_ms = 0;  // of its call
  ModelPayload payload;    // puts
  uint32_t token = 0;      // claims and what follows them
  uint64_t fence = 0;
  int64_t lease_ms = 0;
  int64_t wait_until_ms = 0;  // claims; 0 when they do not wait
};

// An answer, as it was given or as it has to be.
struct Reply {
  absl::StatusCode code = absl::StatusCode::kOk;
  Reason reason = Reason::kUnspecified;
  bool pending = false;                   // claims: nothing to claim yet
  CallPhase phase = CallPhase::kUnknown;  // describes
  uint32_t content = 0;                   // of what was read
  int64_t deadline_ms = 0;                // puts
  int64_t lease_end_ms = 0;               // claims and renewals
  int64_t ended_ms = 0;                   // acks and deletes
  friend auto operator<=>(const Reply&, const Reply&) = default;
};

struct Outcome {
  ModelCall call;
  Reply reply;
  uint64_t claim = 0;  // claims and renewals: the operation that made the claim that is replied
};

// All that the call may become and the answer may be when the operation is decided at `now_ms`. More
// than one where the sweep may or may not have come by; none where the operation goes on waiting.
std::vector<Outcome> Decide(const ModelCall& call, const Operation& operation, int64_t now_ms);

std::string Describe(const Operation& operation);
std::string Describe(const Reply& reply);
std::string Describe(const ModelCall& call);

}  // namespace mayfly::sim
