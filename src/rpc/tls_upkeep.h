// TlsUpkeep keeps the files of [tls] up to date while the server runs, and tells the operator about it:
// of each reload, of files that cannot be used, and of certificates that expire.
//
// A file that cannot be used is logged when its fault is new, and again every kRepeat; a certificate
// whenever its sentence changes, which counts the days and hours. Use from one thread.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "base/clock.h"
#include "rpc/log.h"
#include "rpc/tls_files.h"
#include "rpc/tls_peers.h"

namespace mayfly {

class TlsUpkeep {
 public:
  static constexpr absl::Duration kRepeat = absl::Hours(1);

  // All must outlive this object.
  TlsUpkeep(TlsFiles* files, TlsPeers* peers, Clock* clock, Log* log)
      : files_(files), peers_(peers), clock_(clock), log_(log) {}

  // Takes what has changed, and warns. For every tls.reload_interval.
  void Refresh();
  // Warns of certificates only.
  void WarnOfValidity();

 private:
  void WarnOfFault(const absl::Status& fault);

  TlsFiles* const files_;
  TlsPeers* const peers_;
  Clock* const clock_;
  Log* const log_;
  absl::Status fault_;  // as logged last; OK when all files are usable
  absl::Time fault_logged_;
  std::vector<std::string> warnings_;  // of certificates, as logged last
};

}  // namespace mayfly
