#include "storage/local/file_record.h"

#include <algorithm>
#include <utility>

#include "absl/strings/string_view.h"

#include "base/crc32c.h"
#include "base/error.h"

namespace mayfly {
namespace {

constexpr char kFileRecordName[] = "database";
constexpr absl::string_view kFileRecordMagic = "MAYFFILE";
constexpr uint32_t kFileRecordVersion = 1;
constexpr size_t kCopyBytes = 32 << 10;
constexpr size_t kCopyHeaderBytes = 58;
constexpr size_t kEntryBytes = 16;
constexpr size_t kIdentityBytesMax = 256;
static_assert(kCopyHeaderBytes + FileRecord::kLogsMax * kEntryBytes + kIdentityBytesMax +
                  sizeof(uint32_t) <=
              kCopyBytes);

struct FileRecordCopy {
  StoreId store_id;
  uint64_t counter = 0;
  DatabaseFiles files;
};

constexpr uint64_t OffsetOfCopy(uint64_t counter) { return counter % 2 * kCopyBytes; }

std::string EncodeCopy(const StoreId& store_id, uint64_t counter, const DatabaseFiles& files) {
  const auto log_count = static_cast<uint32_t>(std::min(files.logs.size(), FileRecord::kLogsMax));
  const absl::string_view identity = absl::string_view(files.identity).substr(0, kIdentityBytesMax);
  std::string copy(kFileRecordMagic);
  AppendBigEndian(&copy, kFileRecordVersion);
  copy.append(reinterpret_cast<const char*>(store_id.data()), store_id.size());
  AppendBigEndian(&copy, counter);
  AppendBigEndian(&copy, files.manifest.number);
  AppendBigEndian(&copy, files.manifest.bytes);
  AppendBigEndian(&copy, log_count);
  AppendBigEndian(&copy, static_cast<uint16_t>(identity.size()));
  for (uint32_t i = 0; i < log_count; ++i) {
    AppendBigEndian(&copy, files.logs[i].number);
    AppendBigEndian(&copy, files.logs[i].bytes);
  }
  copy.append(identity.data(), identity.size());
  AppendBigEndian(&copy, Crc32c(AsBytes(copy)));
  return copy;
}

DatabaseFiles::Entry DecodeEntry(const uint8_t* bytes) {
  return {.number = LoadBigEndian<uint64_t>(bytes), .bytes = LoadBigEndian<uint64_t>(bytes + 8)};
}

std::optional<FileRecordCopy> DecodeCopy(ByteSpan bytes) {
  if (bytes.size() < kCopyHeaderBytes) return std::nullopt;
  if (AsText(bytes.first(kFileRecordMagic.size())) != kFileRecordMagic) return std::nullopt;
  if (LoadBigEndian<uint32_t>(bytes.data() + 8) != kFileRecordVersion) return std::nullopt;
  const size_t log_count = LoadBigEndian<uint32_t>(bytes.data() + 52);
  const size_t identity_bytes = LoadBigEndian<uint16_t>(bytes.data() + 56);
  if (log_count > FileRecord::kLogsMax || identity_bytes > kIdentityBytesMax) return std::nullopt;
  const size_t logs_end = kCopyHeaderBytes + log_count * kEntryBytes;
  const size_t end = logs_end + identity_bytes;
  if (bytes.size() < end + sizeof(uint32_t) ||
      LoadBigEndian<uint32_t>(bytes.data() + end) != Crc32c(bytes.first(end))) {
    return std::nullopt;
  }
  FileRecordCopy copy;
  std::copy_n(bytes.data() + 12, copy.store_id.size(), copy.store_id.begin());
  copy.counter = LoadBigEndian<uint64_t>(bytes.data() + 28);
  copy.files.manifest = DecodeEntry(bytes.data() + 36);
  for (size_t offset = kCopyHeaderBytes; offset < logs_end; offset += kEntryBytes) {
    copy.files.logs.push_back(DecodeEntry(bytes.data() + offset));
  }
  copy.files.identity = std::string(AsText(bytes.subspan(logs_end, identity_bytes)));
  return copy;
}

}  // namespace

absl::StatusOr<DatabaseFiles> FileRecord::Read(FileSystem* file_system,
                                               const std::string& keys_directory,
                                               const StoreId& store_id) {
  const auto content =
      ReadFile(file_system, keys_directory + "/" + kFileRecordName, 2 * kCopyBytes);
  if (!content.ok() && !absl::IsOutOfRange(content.status())) return content.status();
  std::optional<FileRecordCopy> newest;
  for (const uint64_t counter : {0, 1}) {
    if (!content.ok() || content->size() != 2 * kCopyBytes) break;
    std::optional<FileRecordCopy> copy =
        DecodeCopy(AsBytes(*content).subspan(OffsetOfCopy(counter), kCopyBytes));
    if (copy && (!newest || copy->counter > newest->counter)) newest = std::move(copy);
  }
  if (!newest) return absl::DataLossError("the record keys/database is damaged");
  if (newest->store_id != store_id) {
    return absl::FailedPreconditionError(
        "the record keys/database is another store's: put the right one back, or remove it to "
        "start "
        "without a check of the database's files");
  }
  return std::move(newest->files);
}

absl::StatusOr<std::unique_ptr<FileRecord>> FileRecord::Create(FileSystem* file_system,
                                                               const std::string& keys_directory,
                                                               const StoreId& store_id,
                                                               const DatabaseFiles& files) {
  std::string content;
  for (const uint64_t counter : {0, 1}) {
    content += EncodeCopy(store_id, counter, files);
    content.resize((counter + 1) * kCopyBytes);
  }
  RETURN_IF_ERROR(ReplaceFile(file_system, keys_directory, kFileRecordName, AsBytes(content)));
  auto file = file_system->Open(keys_directory + "/" + kFileRecordName, /*create=*/false);
  RETURN_IF_ERROR(file.status());
  return std::unique_ptr<FileRecord>(new FileRecord(*std::move(file), store_id));
}

absl::Status FileRecord::Write(const DatabaseFiles& files) {
  ++counter_;
  const std::string copy = EncodeCopy(store_id_, counter_, files);
  RETURN_IF_ERROR(file_->WriteAt(OffsetOfCopy(counter_), AsBytes(copy)));
  return file_->Sync();
}

}  // namespace mayfly
