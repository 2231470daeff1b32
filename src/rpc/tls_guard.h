// Puts a FrameGuard before gRPC's HTTP/2 parser, on every TLS connection that this process serves.
//
// There is no hook between gRPC's TLS and its parser. But the program's own definition of a function
// takes the place of a shared library's (symbol interposition, ld.so(8)), and gRPC reads what it has
// decrypted with SSL_read: ours calls OpenSSL's and shows the bytes to the connection's guard.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"

#include "rpc/frame_guard.h"

namespace mayfly {

// From here on a connection whose client sends a header block larger than `metadata_bytes_max` can
// need, or resets calls too fast, is ended, and messages of more than `message_bytes_max` are not
// collected beyond that. Tenants are those of certificates of `trust_domain`. FAILED_PRECONDITION when
// gRPC would not read through the guard.
absl::Status GuardFrames(const FrameGuard::Limits& limits, const std::string& trust_domain);

// How many calls clients have reset in this process, without those that ended their connection.
uint64_t ResetCallCount();
// The bytes of messages above MessageGuard::kLargeBytes that this process was sent.
uint64_t LargeMessageBytes();

// While one lives, connections that gRPC takes over on this thread are those of a client at `address`,
// which outlives it: by the time bytes come, nothing leads from them to a socket.
class GuardedAddress {
 public:
  explicit GuardedAddress(const std::string& address);
  ~GuardedAddress();
  GuardedAddress(const GuardedAddress&) = delete;
  GuardedAddress& operator=(const GuardedAddress&) = delete;
};

}  // namespace mayfly
