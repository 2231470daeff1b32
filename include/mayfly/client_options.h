// How a client connects and how long it tries; and what may be said of a single call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/time/time.h"

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
  std::string target;  // "host:port"

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
};

struct CallOptions {
  absl::Duration timeout = absl::ZeroDuration();  // zero: the client's
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
  AckMode ack_mode = AckMode::kExplicit;
  // Of an earlier claim, to get that claim again; 16 bytes. Empty: a fresh one for every poll.
  std::string token;
  absl::Duration timeout = absl::ZeroDuration();  // beyond `wait`; zero: the client's
};

struct RetrieveOptions {
  absl::Duration wait = absl::ZeroDuration();     // for the output; any length
  absl::Duration lease = absl::Seconds(30);       // renewed for as long as `consume` runs
  absl::Duration timeout = absl::ZeroDuration();  // beyond `wait`; zero: the client's
};

}  // namespace mayfly::client
