// What a client puts, gets, claims and is told of a function call: plain values.
//
// A *call* is named by a UUIDv7 and has two payloads, its *input* and its *output*. A *claim* is
// the exclusive right to retrieve an output, for as long as its lease lasts. All times are the
// server's.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace mayfly::client {

// What the platform says of a run; Mayfly keeps it and gives it back.
enum class Outcome { kSuccess = 1, kFailure = 2, kTimeout = 3, kCancelled = 4 };

enum class CallState {
  kPending = 1,   // the input is there, the output is not
  kReady = 2,     // the output can be claimed
  kClaimed = 3,   // a client holds the output under a claim
  kConsumed = 4,  // the output was acknowledged; all is erased
  kDeleted = 5,   // deleted on request; all is erased
  kExpired = 6,   // its deadline passed
  kUnknown = 7,   // never there, forgotten, or another tenant's
};

// "SUCCESS", "PENDING": the names in proto/mayfly/v1/function_io.proto without their prefix.
std::string ToString(Outcome outcome);
std::string ToString(CallState state);

// The limits of the server's defaults may be lower or higher: it has the last word.
struct Payload {
  std::string data;                           // in a batch up to 63 MiB
  std::string content_type;                   // up to 255 bytes of UTF-8
  std::map<std::string, std::string> labels;  // up to 16, 1 KiB of names and values in all
  std::string encryption_key_id;              // for data sealed end to end; up to 255 bytes
};

struct Input {
  std::string call_id;  // empty: the client library mints one
  Payload payload;
  absl::Duration ttl = absl::ZeroDuration();  // zero: the server's default; at most 24 h
};

struct Output {
  std::string call_id;
  uint32_t attempt = 1;  // the worker's try number, from 1
  Outcome outcome = Outcome::kSuccess;
  Payload payload;
  absl::Duration ttl = absl::ZeroDuration();
};

// A put that was acknowledged.
struct Stored {
  std::string call_id;
  // When the payload stops being readable. Empty when the call was consumed in the meantime.
  std::optional<absl::Time> deadline;
};

struct StoredInput {
  std::string call_id;
  Payload payload;
  uint64_t size_bytes = 0;  // of payload.data, also when a sink has that
  absl::Time deadline;
};

// Names a claim, to acknowledge, release or renew it.
struct Claim {
  std::string call_id;
  std::string token;  // 16 random bytes; a secret while the claim lasts
  uint64_t fence = 0;
  // Of the data received: the server refuses an ack of anything else. Set by ClaimOutputs.
  std::optional<uint32_t> crc32c;
};

struct ClaimedOutput {
  Claim claim;
  uint32_t attempt = 0;
  Outcome outcome = Outcome::kSuccess;
  Payload payload;
  uint64_t size_bytes = 0;    // of payload.data
  bool data_omitted = false;  // claimed, but without its data: Client::DownloadOutput brings it
  absl::Time lease_end;       // when the claim lapses; infinite past when `acked`
  bool acked = false;         // with AckMode::kAuto: acknowledged and erased already
};

// An output that was retrieved into a sink: all but its data.
struct Retrieved {
  ClaimedOutput output;
  absl::Time erased;  // when both payloads of the call were
};

// A call of a poll that gave no output although it is not pending.
struct CallError {
  std::string call_id;
  absl::Status status;
};

struct ClaimedOutputs {
  std::vector<ClaimedOutput> outputs;
  std::vector<CallError> errors;
  uint32_t pending_count = 0;  // calls with nothing to claim yet, or claimed by somebody else
};

struct PayloadDescription {
  uint64_t size_bytes = 0;
  absl::Time stored;
  absl::Time deadline;
  uint32_t attempt = 0;  // outputs only
};

struct CallDescription {
  std::string call_id;
  CallState state = CallState::kUnknown;
  std::optional<PayloadDescription> input;
  std::optional<PayloadDescription> output;
};

}  // namespace mayfly::client
