#include "storage/local/blob_files.h"

#include <algorithm>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/error.h"

namespace mayfly {
namespace {

constexpr char kAcceptedBlobFilesKey[] = "accepted_blob_files";

// Empty when the file is as it should be.
absl::StatusOr<std::string> FindFault(const std::string& path, uint64_t size_bytes) {
  // O_NONBLOCK: opening a pipe must not wait for its writer.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    if (errno == ENOENT) return "is missing";
    const std::string reason = strerrordesc_np(errno);
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
      return absl::UnavailableError(absl::StrCat("a blob file cannot be opened: ", reason));
    }
    return absl::StrCat("cannot be read: ", reason);
  }
  const absl::Cleanup close_file = [fd] { close(fd); };
  struct stat info {};
  if (fstat(fd, &info) != 0) return absl::StrCat("cannot be read: ", strerrordesc_np(errno));
  if (!S_ISREG(info.st_mode)) return "is not a regular file";
  const auto found_bytes = static_cast<uint64_t>(info.st_size);
  if (found_bytes >= size_bytes) return "";
  return absl::StrCat("has ", found_bytes, " bytes, but ", size_bytes, " were written");
}

}  // namespace

absl::StatusOr<std::vector<LostBlobFile>> FindLostBlobFiles(const Database& database) {
  rocksdb::ColumnFamilyMetaData segments;
  database->GetColumnFamilyMetaData(database.family(Family::kSegments), &segments);
  std::vector<LostBlobFile> lost;
  for (const rocksdb::BlobMetaData& file : segments.blob_files) {
    // RocksDB's names begin with a separator.
    const auto fault =
        FindFault(absl::StrCat(file.blob_file_path, "/", file.blob_file_name), file.blob_file_size);
    RETURN_IF_ERROR(fault.status());
    if (fault->empty()) continue;
    const std::string name = file.blob_file_name.substr(file.blob_file_name.rfind('/') + 1);
    lost.push_back({.number = file.blob_file_number,
                    .fault = absl::StrCat("the blob file db/", name, " ", *fault),
                    .segment_count = file.total_blob_count - file.garbage_blob_count});
  }
  std::sort(lost.begin(), lost.end(),
            [](const auto& a, const auto& b) { return a.number < b.number; });
  return lost;
}

absl::StatusOr<std::vector<uint64_t>> LoadAcceptedBlobFiles(const Database& database) {
  std::string value;
  const rocksdb::Status status = database->Get(
      rocksdb::ReadOptions(), database.family(Family::kDefault), kAcceptedBlobFilesKey, &value);
  std::vector<uint64_t> numbers;
  if (status.IsNotFound()) return numbers;
  if (!status.ok()) {
    return absl::UnavailableError(
        absl::StrCat("the database's accepted losses cannot be read: ", status.ToString()));
  }
  if (value.size() % sizeof(uint64_t) != 0) {
    return absl::DataLossError("the accepted_blob_files row is not in the format of this program");
  }
  const ByteSpan bytes = AsBytes(value);
  for (size_t offset = 0; offset < bytes.size(); offset += sizeof(uint64_t)) {
    numbers.push_back(LoadBigEndian<uint64_t>(bytes.data() + offset));
  }
  return numbers;
}

absl::Status SaveAcceptedBlobFiles(const Database& database, const std::vector<uint64_t>& numbers) {
  std::string value;
  for (const uint64_t number : numbers) AppendBigEndian(&value, number);
  rocksdb::WriteOptions synced;
  synced.sync = true;
  const rocksdb::Status status =
      database->Put(synced, database.family(Family::kDefault), kAcceptedBlobFilesKey, value);
  if (status.ok()) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("the accepted losses cannot be written: ", status.ToString()));
}

}  // namespace mayfly
