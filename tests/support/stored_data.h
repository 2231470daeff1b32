// Counts the data that a stopped server has left in its data directory, in the files themselves:
// the rows of RocksDB, read without the program's own storage, and the slots.
//
//   server.Stop();
//   EXPECT_EQ(ReadStoredData(server.directory() / "data"), StoredData{});  // nothing is left
#pragma once

#include <cstdint>
#include <ostream>
#include <string>

namespace mayfly {

struct StoredData {
  uint64_t payload_rows = 0;   // inputs and outputs
  uint64_t segment_rows = 0;   // a payload's segments
  uint64_t segment_bytes = 0;  // room of the disk that segment files take
  uint64_t deadline_rows = 0;  // one for each payload
  uint64_t upload_rows = 0;
  uint64_t live_slots = 0;  // one for each payload and upload
  // As the tenants' counters were written last, over all tenants.
  int64_t live_calls = 0;
  int64_t live_bytes = 0;

  friend bool operator==(const StoredData&, const StoredData&) = default;
};

std::ostream& operator<<(std::ostream& out, const StoredData& data);

// `directory` is a server's storage.data_dir; nobody has it open.
StoredData ReadStoredData(const std::string& directory);

}  // namespace mayfly
