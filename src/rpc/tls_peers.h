// TlsPeers tells whether the certificate behind a connection counts now: TLS judges it once, at the
// handshake, and a connection outlives that by hours.
//
// A certificate counts when a path from it to a CA of `tls.ca_file`, as that file is now, is valid
// now, in all its certificates. That is looked up per RPC: a path is sought once for a certificate,
// and its verdict kept until one of the path's certificates begins or ends or the file changes.
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

// The certificates that a client has shown, in PEM: its own, and those between that and a CA.
struct PeerChain {
  absl::string_view certificate;
  absl::string_view intermediates;
};

class TlsPeers {
 public:
  // How many verdicts are kept. When there are more, all are forgotten, and sought anew.
  static constexpr size_t kVerdictsMax = 4096;

  // `clock`, by whose wall time certificates are judged, outlives it. FAILED_PRECONDITION when the
  // file holds no certificates.
  static absl::StatusOr<std::unique_ptr<TlsPeers>> Open(const std::string& ca_file, Clock* clock);
  ~TlsPeers();

  // UNAUTHENTICATED (IDENTITY_INVALID) with what is wrong: expired, not yet valid, or not of a
  // trusted CA any more.
  absl::Status Check(const PeerChain& chain) EXCLUDES_LOCK(mutex_);

  // Reads the CA file again if it has changed. A file that cannot be used changes nothing, which is
  // what FAILED_PRECONDITION says.
  absl::Status Refresh() EXCLUDES_LOCK(mutex_);

 private:
  // What of a chain is known; it holds from `from_s` to before `until_s`, in Unix seconds.
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
