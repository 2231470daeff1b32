// The plain values of the client's methods: function calls, their payloads, and claims.
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

// How a run of the function ended, by its platform. Mayfly stores it with the output.
enum class Outcome { kSuccess = 1, kFailure = 2, kTimeout = 3, kCancelled = 4 };

enum class CallState {
  kPending = 1,   // there is an input, but no output yet
  kReady = 2,     // the output can be claimed
  kClaimed = 3,   // a client holds the output under a claim
  kConsumed = 4,  // the output was acknowledged; the payloads are erased
  kDeleted = 5,   // deleted on request; the payloads are erased
  kExpired = 6,   // the deadline passed
  kUnknown = 7,   // never stored, forgotten, or of another tenant
};

// "SUCCESS", "PENDING": the names in proto/mayfly/v1/function_io.proto without their prefix.
std::string ToString(Outcome outcome);
std::string ToString(CallState state);

// The limits below are the defaults of the server, which may be configured otherwise.
struct Payload {
  std::string data;                           // in a batch up to 63 MiB
  std::string content_type;                   // up to 255 bytes of UTF-8
  std::map<std::string, std::string> labels;  // up to 16, 1 KiB of names and values in all
  std::string encryption_key_id;  // of data that is encrypted end to end; up to 255 bytes
};

struct Input {
  std::string call_id;  // empty: the library mints one
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

// An acknowledged put.
struct Stored {
  std::string call_id;
  // When the payload expires. Empty if the call has been consumed meanwhile.
  std::optional<absl::Time> deadline;
};

struct StoredInput {
  std::string call_id;
  Payload payload;
  uint64_t size_bytes = 0;  // of payload.data, also when the data went to a sink
  absl::Time deadline;
};

// Identifies a claim, to acknowledge, release or renew it.
struct Claim {
  std::string call_id;
  std::string token;  // 16 random bytes; a secret while the claim lasts
  uint64_t fence = 0;
  // Of the data that was received. The server rejects an ack whose checksum is not that of the
  // stored data. Set by ClaimOutputs.
  std::optional<uint32_t> crc32c;
};

struct ClaimedOutput {
  Claim claim;
  uint32_t attempt = 0;
  Outcome outcome = Outcome::kSuccess;
  Payload payload;
  uint64_t size_bytes = 0;    // of payload.data
  bool data_omitted = false;  // claimed without its data; Client::DownloadOutput gets it
  absl::Time lease_end;       // when the claim expires; infinite past when `acked`
  bool acked = false;         // already acknowledged and erased, with AckMode::kAuto
};

// An output that was retrieved into a sink, without its data.
struct Retrieved {
  ClaimedOutput output;
  absl::Time erased;  // when both payloads of the call were erased
};

// Why a call of a poll will not have an output, or has one that cannot be delivered.
struct CallError {
  std::string call_id;
  absl::Status status;
};

struct ClaimedOutputs {
  std::vector<ClaimedOutput> outputs;
  std::vector<CallError> errors;
  uint32_t pending_count = 0;  // calls without an output yet, or claimed by another client
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
  std::optional<absl::Time> lease_end;  // kClaimed: when the claim lapses
  std::optional<absl::Time> end;        // kConsumed, kDeleted, kExpired
};

// In force for the caller's tenant. The names are those of the settings in mayfly.toml.
struct ServerLimits {
  absl::Duration id_window;
  absl::Duration default_ttl;
  absl::Duration max_ttl;
  absl::Duration tombstone_ttl;
  absl::Duration wait_max;
  absl::Duration lease_default;
  absl::Duration lease_max;
  absl::Duration lease_total_max;
  absl::Duration upload_idle_timeout;
  uint64_t payload_bytes_max = 0;
  uint64_t message_bytes_max = 0;
  uint64_t batch_items_max = 0;
  uint64_t stream_subscriptions_max = 0;
  // Quotas of the tenant; 0: none.
  uint64_t live_calls_max = 0;
  uint64_t live_bytes_max = 0;
  uint64_t operations_per_second_max = 0;
  uint64_t claims_max = 0;
  uint64_t uploads_max = 0;
};

struct ServerInfo {
  std::string version;
  absl::Time time;     // by which the server judges call ids and deadlines
  std::string tenant;  // the caller's, as the server reads its certificate
  std::string role;
  ServerLimits limits;
};

}  // namespace mayfly::client
