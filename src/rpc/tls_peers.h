// TlsPeers checks whether the certificate of a connection is still valid. TLS verifies it once, at
// the handshake, and a connection can outlive that by hours.
//
// A certificate is valid if there is a path from it to a CA of the current `tls.ca_file` and all
// certificates of that path are valid now. Every RPC checks this. The path is verified once per
// certificate, and the verdict is cached until a certificate of the path becomes valid or expires,
// or the file changes.
//
// Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "base/clock.h"
#include "base/mutex.h"

namespace mayfly {

// The certificates of a client, in PEM: its own, and the intermediates up to a CA.
struct PeerChain {
  absl::string_view certificate;
  absl::string_view intermediates;
};

class TlsPeers {
 public:
  // Maximum number of cached verdicts. Beyond it all are dropped and computed again.
  static constexpr size_t kVerdictsMax = 4096;

  // Certificates are checked against the wall time of `clock`, which must outlive this object.
  // FAILED_PRECONDITION if the file holds no certificates.
  static absl::StatusOr<std::unique_ptr<TlsPeers>> Open(const std::string& ca_file, Clock* clock);
  ~TlsPeers();

  // UNAUTHENTICATED (IDENTITY_INVALID) with the reason: expired, not valid yet, or no longer from a
  // trusted CA.
  absl::Status Check(const PeerChain& chain) EXCLUDES_LOCK(mutex_);

  // Reloads the CA file if it has changed. If it is unusable, nothing changes, and
  // FAILED_PRECONDITION gives the reason.
  absl::Status Refresh() EXCLUDES_LOCK(mutex_);

 private:
  // The cached result for a chain. Valid from `from_s` until before `until_s`, in Unix seconds.
  struct Verdict {
    absl::Status status;
    int64_t from_s = 0;
    int64_t until_s = 0;
  };
  class TrustedCas;
  struct ChainHash;
  struct ChainEqual;

  TlsPeers(std::string ca_file, Clock* clock);

  static Verdict Judge(const TrustedCas& trusted, const PeerChain& chain, int64_t now_s);

  const std::string ca_file_;
  Clock* const clock_;
  Mutex mutex_;
  std::string ca_pem_ GUARDED_BY(mutex_);
  std::shared_ptr<const TrustedCas> trusted_ GUARDED_BY(mutex_);
  std::unique_ptr<
      absl::flat_hash_map<std::pair<std::string, std::string>, Verdict, ChainHash, ChainEqual>>
      verdicts_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
