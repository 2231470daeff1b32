#include "cli/kept_download.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "mayfly/client.h"

namespace mayfly::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPieceBytes = 1 << 20;
// So that a hidden file may have the name of the file, the id and an ending: names have 255 bytes.
constexpr size_t kNameBytesMax = 200;

std::string HiddenPath(const std::string& path, const std::string& call_id,
                       absl::string_view ending) {
  const std::string name = fs::path(path).filename().string().substr(0, kNameBytesMax);
  const std::string stem = name == call_id ? name : absl::StrCat(name, ".", call_id);
  return (fs::path(DirectoryOf(path)) / absl::StrCat(".", stem, ending)).string();
}

std::string RecordPath(const std::string& path, const std::string& call_id) {
  return HiddenPath(path, call_id, ".mayfly");
}

bool IsSame(const client::PayloadVersion& a, const client::PayloadVersion& b) {
  return a.attempt == b.attempt && a.size_bytes == b.size_bytes;
}

MutableByteSpan AsMutableBytes(char* buffer, size_t size) {
  return MutableByteSpan(reinterpret_cast<uint8_t*>(buffer), size);
}

absl::StatusOr<uint32_t> Crc32cOf(File* file, uint64_t size) {
  std::string piece(std::min<uint64_t>(size, kPieceBytes), '\0');
  uint32_t crc32c = 0;
  for (uint64_t offset = 0; offset < size; offset += piece.size()) {
    piece.resize(std::min<uint64_t>(size - offset, piece.size()));
    RETURN_IF_ERROR(file->ReadAt(offset, AsMutableBytes(piece.data(), piece.size())));
    crc32c = ExtendCrc32c(crc32c, AsBytes(piece));
  }
  return crc32c;
}

}  // namespace

KeptDownload::KeptDownload(FileSystem* file_system, const std::string& path,
                           const std::string& call_id, DirectorySync directory_sync)
    : file_system_(file_system),
      path_(FollowLinks(path)),
      directory_(DirectoryOf(path_)),
      part_(HiddenPath(path_, call_id, ".part")),
      record_path_(RecordPath(path_, call_id)),
      directory_sync_(directory_sync) {}

absl::StatusOr<std::unique_ptr<KeptDownload>> KeptDownload::Open(FileSystem* file_system,
                                                                 const std::string& path,
                                                                 const std::string& call_id,
                                                                 DirectorySync directory_sync) {
  std::unique_ptr<KeptDownload> download(
      new KeptDownload(file_system, path, call_id, directory_sync));
  auto record = DownloadRecord::Open(file_system, download->record_path_);
  if (absl::IsAborted(record.status())) return record.status();
  RETURN_IF_ERROR(download->FileError(record.status()));
  download->record_ = *std::move(record);
  return download;
}

bool KeptDownload::IsKept(const std::string& path, const std::string& call_id) {
  std::error_code error;
  return fs::exists(RecordPath(FollowLinks(path), call_id), error);
}

absl::StatusOr<std::string> KeptDownload::PrepareClaim() {
  if (record_->claim_token().empty()) RETURN_IF_ERROR(PrepareClaim(client::MintClaimToken()));
  return record_->claim_token();
}

absl::Status KeptDownload::PrepareClaim(const std::string& token) {
  return FileError(record_->SetClaimToken(token));
}

absl::StatusOr<uint64_t> KeptDownload::KeptBytes(const client::PayloadVersion& version) {
  file_.reset();
  kept_.reset();
  if (record_->version().has_value() && IsSame(*record_->version(), version)) {
    const absl::StatusOr<uint64_t> kept = OpenKept(version);
    RETURN_IF_ERROR(FileError(kept.status()));
    return kept;
  }
  if (file_system_->Exists(part_)) RETURN_IF_ERROR(FileError(file_system_->Remove(part_)));
  RETURN_IF_ERROR(FileError(record_->SetVersion(version)));
  return 0;
}

absl::StatusOr<uint64_t> KeptDownload::OpenKept(const client::PayloadVersion& version) {
  const bool has_part = file_system_->Exists(part_);
  if (!has_part && !complete().has_value()) return 0;
  if (has_part) RETURN_IF_ERROR(CheckOwnFile(part_));
  absl::StatusOr<std::unique_ptr<File>> file =
      file_system_->Open(has_part ? part_ : path_, /*create=*/false);
  if (absl::IsNotFound(file.status())) return 0;
  RETURN_IF_ERROR(file.status());
  const absl::StatusOr<uint64_t> size = (*file)->Size();
  RETURN_IF_ERROR(size.status());
  const bool is_output = version.attempt > 0;
  if (is_output && *size > version.size_bytes) return 0;
  if (!has_part && *size != version.size_bytes) return 0;
  kept_ = *std::move(file);
  return *size;
}

absl::StatusOr<size_t> KeptDownload::ReadKept(uint64_t offset, char* buffer, size_t size) {
  RETURN_IF_ERROR(FileError(kept_->ReadAt(offset, AsMutableBytes(buffer, size))));
  return size;
}

absl::Status KeptDownload::WriteAt(uint64_t offset, absl::string_view data) {
  if (offset == 0) {
    RETURN_IF_ERROR(FileError(BeginPart()));
  } else if (file_ == nullptr) {
    RETURN_IF_ERROR(FileError(OpenPart()));
  }
  return FileError(file_->WriteAt(offset, AsBytes(data)));
}

absl::Status KeptDownload::Finish(uint64_t size) {
  // An empty payload has no first piece that begins the file.
  if (size == 0) return FileError(BeginPart());
  if (file_ == nullptr && !file_system_->Exists(part_)) return absl::OkStatus();  // it is in place
  if (file_ == nullptr) RETURN_IF_ERROR(FileError(OpenPart()));
  return FileError(file_->Sync());
}

absl::Status KeptDownload::BeginPart() {
  file_.reset();
  kept_.reset();
  if (file_system_->Exists(part_)) RETURN_IF_ERROR(file_system_->Remove(part_));
  absl::StatusOr<std::unique_ptr<File>> file = file_system_->Open(part_, /*create=*/true);
  RETURN_IF_ERROR(file.status());
  RETURN_IF_ERROR(CheckOwnFile(part_));
  file_ = *std::move(file);
  return absl::OkStatus();
}

absl::Status KeptDownload::OpenPart() {
  absl::StatusOr<std::unique_ptr<File>> file = file_system_->Open(part_, /*create=*/false);
  RETURN_IF_ERROR(file.status());
  file_ = *std::move(file);
  return absl::OkStatus();
}

absl::Status KeptDownload::RecordComplete(const client::ClaimedOutput& output) {
  return FileError(record_->SetComplete(output));
}

absl::Status KeptDownload::Place() {
  file_.reset();
  kept_.reset();
  if (file_system_->Exists(part_)) {
    RETURN_IF_ERROR(FileError(file_system_->Rename(part_, path_)));
  }
  if (directory_sync_ == DirectorySync::kByCaller) return absl::OkStatus();
  return FileError(file_system_->SyncDirectory(directory_));
}

void KeptDownload::Remove() {
  file_.reset();
  kept_.reset();
  // The record last: without it nobody would look for the part.
  if (file_system_->Exists(part_)) file_system_->Remove(part_).IgnoreError();
  record_->Remove().IgnoreError();
}

absl::StatusOr<bool> KeptDownload::IsInPlace() {
  if (!complete().has_value() || file_system_->Exists(part_)) return false;
  const absl::StatusOr<std::unique_ptr<File>> file = file_system_->Open(path_, /*create=*/false);
  if (absl::IsNotFound(file.status())) return false;
  RETURN_IF_ERROR(FileError(file.status()));
  const absl::StatusOr<uint64_t> size = (*file)->Size();
  RETURN_IF_ERROR(FileError(size.status()));
  if (*size != complete()->size_bytes) return false;
  const absl::StatusOr<uint32_t> crc32c = Crc32cOf(file->get(), *size);
  RETURN_IF_ERROR(FileError(crc32c.status()));
  return *crc32c == complete()->claim.crc32c;
}

uint64_t KeptDownload::PartBytes() {
  std::error_code error;
  const uintmax_t size = fs::file_size(part_, error);
  return error ? 0 : size;
}

absl::Status KeptDownload::FileError(const absl::Status& status) {
  if (status.ok()) return status;
  failed_ = true;
  return OutputFileError(status);
}

}  // namespace mayfly::cli
