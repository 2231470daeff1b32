// How a client connects and how long it tries; and what may be said of a single call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"

#include "mayfly/cancellation.h"
#include "mayfly/payload_io.h"

namespace mayfly::client {

// Only what may be repeated without harm is: calls that ended UNAVAILABLE, and calls whose answer
// did not come, with the same call id, claim token and content. The pause doubles from delay_min
// to delay_max, less a random part of up to a half; a longer pause that the server asks for is
// granted.
struct RetryPolicy {
  int attempts_max = 100;  // 1: never repeat
  absl::Duration delay_min = absl::Milliseconds(50);
  absl::Duration delay_max = absl::Seconds(5);
};

struct ClientOptions {
  std::string target;  // "host:port"; all addresses of the host must be one server's

  // PEM files, read once by Connect.
  std::string ca_file;           // whom to trust as a server
  std::string certificate_file;  // who this client is: tenant and role
  std::string key_file;

  // The name to expect in the server's certificate. Default: the host of `target`.
  std::string server_name;

  // The time that a call may take with all its repetitions, beyond the wait of a claim.
  absl::Duration timeout = absl::Seconds(30);
  RetryPolicy retry;

  // Requests are split, and answers asked for, in messages of about this size, 1..67108864. A
  // single payload may be larger. The default suits gRPC servers and proxies with stock limits.
  size_t batch_bytes_max = 3 << 20;

  // Calls of single items travel together: one that finds none of its kind under way leaves at
  // once, or when it has lingered for this long, 0..1 ms; the others leave together when an answer
  // has come.
  absl::Duration linger = absl::ZeroDuration();

  // The largest payload that is read into memory; larger ones are OUT_OF_RANGE, and want a sink.
  uint64_t data_bytes_max = 256 << 20;

  // Connections beside the first for payloads above kMessageDataBytesMax, so that small ones never
  // wait behind large ones: 1..64. As many of them are transferred at a time by the methods that
  // do not wait.
  int large_channels = 2;

  // Pings find out that a silent connection is dead. Servers take one every 10 s.
  absl::Duration keepalive_time = absl::Seconds(20);     // 10 s or more
  absl::Duration keepalive_timeout = absl::Seconds(10);  // more than 0
};

// Larger payloads than this are streamed, in segments, when they are put, got or retrieved one by
// one; smaller ones share messages.
inline constexpr size_t kMessageDataBytesMax = 1 << 20;

struct CallOptions {
  // The call has ended when this has passed. Zero: the client's; and if the payload is streamed,
  // as long as this does not pass without progress.
  absl::Duration timeout = absl::ZeroDuration();
  std::optional<Cancellation> cancellation;
  Progress progress;
};

enum class AckMode {
  kExplicit = 1,  // the output stays until it is acknowledged: at least once
  kAuto = 2,      // acknowledged before it is sent: at most once; a lost reply loses the output
};

struct ClaimOptions {
  absl::Duration wait = absl::ZeroDuration();  // for the first output; any length
  absl::Duration lease = absl::Seconds(30);    // 1 s up to the server's limit
  uint32_t count_max = 512;                    // outputs to claim at most
  uint64_t bytes_max = 0;  // payload bytes to claim at most; zero: batch_bytes_max
  // Claim larger outputs too: they come with data_omitted, and Client::DownloadOutput brings it.
  bool claim_larger = false;
  AckMode ack_mode = AckMode::kExplicit;
  // Of an earlier claim, to get that claim again; 16 bytes. Empty: a fresh one for every poll.
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
};

}  // namespace mayfly::client
