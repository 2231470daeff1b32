// Options of a client, and of single calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "mayfly/call.h"
#include "mayfly/cancellation.h"
#include "mayfly/payload_io.h"

namespace mayfly::client {

// How calls are retried. Calls that ended UNAVAILABLE, and calls without an answer, are retried
// with the same call id, claim token and content, which is always safe. The pause doubles from
// delay_min to delay_max, less a random part of up to a half. If the server asks for a longer
// pause, the client keeps to it.
struct RetryPolicy {
  int attempts_max = 100;  // 1: no retries
  absl::Duration delay_min = absl::Milliseconds(50);
  absl::Duration delay_max = absl::Seconds(5);
};

struct ClientOptions {
  // "host:port", or "host" for port 7443; all addresses of the host must be one server's.
  std::string target;

  // PEM files. When they are replaced on disk, the client connects again with their new content,
  // within a second; a certificate whose key is not there yet is not used.
  std::string ca_file;           // signs the server's certificate
  std::string certificate_file;  // names this client's tenant and role
  std::string key_file;

  // The name to expect in the server's certificate. Default: the host of `target`.
  std::string server_name;

  // The time that a call may take with all its retries. The wait for an output comes on top.
  absl::Duration timeout = absl::Seconds(30);
  RetryPolicy retry;

  // Called when the server cannot be reached, with the reason, while calls are tried again: once for
  // each reason until a call is answered. It runs on a thread of the client's, and must not wait for
  // the client.
  std::function<void(const absl::Status& why)> on_unreachable;

  // About how large requests and responses may be, 1..67108864 bytes. A single payload may be
  // larger. The default suits the default limits of gRPC servers and proxies.
  size_t batch_bytes_max = 3 << 20;

  // Single calls share messages. A call that finds none of its kind under way is sent after this
  // time, 0..1 ms; calls that come meanwhile are sent together when an answer has come.
  absl::Duration linger = absl::ZeroDuration();

  // The largest payload that is read into memory. Larger ones are OUT_OF_RANGE: use a sink.
  uint64_t data_bytes_max = 256 << 20;

  // Connections for payloads above kMessageDataBytesMax, so that small payloads do not wait behind
  // large ones: 1..64. It also limits how many such payloads the non-blocking methods transfer at a
  // time.
  int large_channels = 2;

  // Pings detect dead connections. Servers accept one every 10 s.
  absl::Duration keepalive_time = absl::Seconds(20);     // 10 s or more
  absl::Duration keepalive_timeout = absl::Seconds(10);  // more than 0
};

// Methods for single calls stream payloads larger than this, in segments. Smaller ones share
// messages.
inline constexpr size_t kMessageDataBytesMax = 1 << 20;

struct CallOptions {
  // The call ends after this time. Zero: the client's timeout, which a streamed payload may exceed
  // as long as it makes progress.
  absl::Duration timeout = absl::ZeroDuration();
  std::optional<Cancellation> cancellation;
  Progress progress;
};

enum class AckMode {
  kExplicit = 1,  // the output stays until it is acknowledged: at least once
  kAuto = 2,      // acknowledged before it is sent: at most once; a lost response loses the output
};

struct ClaimOptions {
  absl::Duration wait = absl::ZeroDuration();  // for the first output; any length
  absl::Duration lease = absl::Seconds(30);    // 1 s up to the server's limit
  uint32_t count_max = 512;                    // outputs to claim at most
  uint64_t bytes_max = 0;  // payload bytes to claim at most; zero: batch_bytes_max
  // Also claim larger outputs, with data_omitted; Client::DownloadOutput gets their data.
  bool claim_larger = false;
  AckMode ack_mode = AckMode::kExplicit;
  // The token of an earlier claim, 16 bytes, to get that claim again. Empty: a new one for every
  // poll.
  std::string token;
  absl::Duration timeout = absl::ZeroDuration();  // beyond `wait`; zero: the client's
  std::optional<Cancellation> cancellation;
};

struct RetrieveOptions {
  absl::Duration wait = absl::ZeroDuration();     // for the output; any length
  absl::Duration lease = absl::Seconds(30);       // renewed until the output is acknowledged
  absl::Duration timeout = absl::ZeroDuration();  // beyond `wait`, as in CallOptions
  std::optional<Cancellation> cancellation;
  Progress progress;
  // 16 bytes of MintClaimToken, to retrieve an output that may be claimed with this token already, as
  // by a process that has died. Such a claim is taken over at once; without the token, it lasts until
  // its lease ends. Empty: a new one.
  std::string claim_token;
  // For RetrieveInto: called between Finish of the sink and the ack, with the output without its data.
  // An error releases the output and is the result.
  std::function<absl::Status(const ClaimedOutput& output)> before_ack;
};

}  // namespace mayfly::client
