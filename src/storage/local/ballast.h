// The Ballast is a file that holds room for the recovery of the database, DIR/ballast.
//
// A start writes what the log holds into table files before it drops the log. When something else
// has filled the disk since, or a killed start left half of them behind, that room is not there, and
// the store would be down until an operator makes some. So the room is taken in advance, by a file
// without content, which goes when it is needed and is made again when there is plenty. Puts are
// refused while it is missing and the disk is short (storage/room.h).
//
// Not thread-safe.
#pragma once

#include <cstdint>
#include <string>

namespace mayfly {

class Ballast {
 public:
  // Takes over a file that is there already.
  Ballast(const std::string& directory, uint64_t size_bytes);

  uint64_t missing_bytes() const { return size_bytes_ - held_bytes_; }
  // Allocates the file whole, or leaves none. No error: it is tried again when there is room.
  void Make();
  void Release();

 private:
  const std::string path_;
  const uint64_t size_bytes_;
  uint64_t held_bytes_ = 0;
};

}  // namespace mayfly
