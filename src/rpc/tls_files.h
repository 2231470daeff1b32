// TlsFiles gives gRPC in-memory copies of the files in [tls]. A copy changes only when the file on
// disk is usable.
//
// gRPC reloads its files by itself and uses whatever it reads: with a damaged CA file it rejects
// every new connection, and a directory in place of a file ends the process. So gRPC gets the names
// of memory files (memfd_create(2), under /proc/self/fd), and a new version replaces the old one
// atomically (dup3(2)). Certificate and key are replaced together, when they match.
//
// Use from one thread; gRPC may read the copies at any time.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "config/config.h"

namespace mayfly {

class TlsFiles {
 public:
  // Larger files are rejected.
  static constexpr size_t kFileBytesMax = 1 << 20;

  // FAILED_PRECONDITION if the files are unusable, with a sentence that names setting and file
  // and says what to do.
  static absl::StatusOr<std::unique_ptr<TlsFiles>> Open(const Config::Tls& tls);
  ~TlsFiles();
  TlsFiles(const TlsFiles&) = delete;
  TlsFiles& operator=(const TlsFiles&) = delete;

  // The settings given to Open, with the names of the copies.
  const Config::Tls& copies() const { return copies_; }
  // Copies files that have changed. If a file is unusable, nothing changes, and FAILED_PRECONDITION
  // gives the reason.
  absl::Status Refresh();
  // "tls.ca_file /etc/mayfly/ca.pem", for each file or pair that Refresh has replaced since the last
  // call.
  std::vector<std::string> TakeReloaded() { return std::exchange(reloaded_, {}); }
  // What is in use, in PEM.
  const std::string& ca_text() const { return ca_.text; }
  const std::string& certificate_text() const { return certificate_.text; }
  // The settings given to Open.
  const Config::Tls& settings() const { return tls_; }

 private:
  struct Copy {
    int descriptor = -1;
    std::string text;
  };

  explicit TlsFiles(const Config::Tls& tls) : tls_(tls), copies_(tls) {}

  absl::Status RefreshCa();
  absl::Status RefreshPair();
  static absl::Status Replace(Copy* copy, std::string text);

  const Config::Tls tls_;
  Config::Tls copies_;
  Copy ca_;
  Copy certificate_;
  Copy key_;
  std::vector<std::string> reloaded_;
};

}  // namespace mayfly
