// TlsFiles are the files of [tls] as gRPC sees them: copies in memory that change only when what is on
// the disk can be used.
//
// gRPC reads its files again by itself and takes what it finds: with a damaged CA file it refuses every
// new connection, and a directory in a file's place ends the process. So it gets the names of memory
// files (memfd_create(2), under /proc/self/fd), and a new version takes the place of the old one at
// once (dup3(2)). Certificate and key are taken up together, when they fit each other.
//
// Belongs to one thread; gRPC may read the copies at any time.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "config/config.h"

namespace mayfly {

class TlsFiles {
 public:
  // Larger files are refused.
  static constexpr size_t kFileBytesMax = 1 << 20;

  // FAILED_PRECONDITION when the files as they are now cannot serve, with a sentence that says which.
  static absl::StatusOr<std::unique_ptr<TlsFiles>> Open(const Config::Tls& tls);
  ~TlsFiles();
  TlsFiles(const TlsFiles&) = delete;
  TlsFiles& operator=(const TlsFiles&) = delete;

  // As given to Open, with the names of the copies.
  const Config::Tls& copies() const { return copies_; }
  // Takes up what has changed. What cannot be used changes nothing, and FAILED_PRECONDITION says why.
  absl::Status Refresh();

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
};

}  // namespace mayfly
