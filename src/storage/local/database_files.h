// DatabaseFiles says which files of the database are on the disk, and how much of each.
//
// RocksDB does not know how long its logs and its manifest were. A log that is gone or cut counts as
// one that ends there, and a manifest that is cut as one that a crash has cut: it opens, and the rows
// are gone. So the files are noted outside the database while it runs, and a start compares what it
// finds with the note.
//
// The manifest only grows, until a new one with a higher number takes its place. A log is removed
// when all its rows are in table files, after the manifest has been synced that says so. So a log may
// only be missing when the manifest that is there says that it is not needed, and a log that is
// needed is never cut.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mayfly {

struct DatabaseFiles {
  struct Entry {
    uint64_t number = 0;
    uint64_t bytes = 0;
    bool operator==(const Entry&) const = default;
  };
  std::string identity;     // the content of IDENTITY, empty without that file
  Entry manifest;           // number 0: CURRENT names none; 0 bytes: it names one that is not there
  std::vector<Entry> logs;  // by number

  bool operator==(const DatabaseFiles&) const = default;
};

// Lists the database in `directory`. Empty when there is none, UNAVAILABLE when it cannot be read.
absl::StatusOr<DatabaseFiles> FindDatabaseFiles(const std::string& directory);
// The logs alone.
absl::StatusOr<std::vector<DatabaseFiles::Entry>> FindLogs(const std::string& directory);
std::string ManifestName(uint64_t number);

// All of these: DATA_LOSS, naming a file, when something of `synced` is not there that no crash can
// have taken. OK when there is a doubt.

absl::Status CheckManifest(const DatabaseFiles& synced, const DatabaseFiles& found);
// `needed`: those of the synced logs that the manifest which is there needs.
absl::Status CheckLogsAreThere(const std::vector<DatabaseFiles::Entry>& needed,
                               const std::vector<DatabaseFiles::Entry>& found);
// For logs that are as long as they were and have zeros where something was written, which RocksDB
// steps over without a word. Reads the logs once, as RocksDB does afterwards.
absl::Status CheckLogsAreWritten(const std::string& directory,
                                 const std::vector<DatabaseFiles::Entry>& needed);

}  // namespace mayfly
