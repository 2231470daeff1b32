#include "cli/download_record.h"

#include <errno.h>
#include <fcntl.h>
#include <filesystem>
#include <string.h>
#include <unistd.h>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/error.h"
#include "cli/json.h"

namespace mayfly::cli {
namespace {

// A record of a few attempts has less than 10 KiB.
constexpr uint64_t kRecordBytesMax = 1 << 20;
// Others may remove the file while it is opened, when they have finished.
constexpr int kOpensMax = 100;

absl::Status RecordError(const std::string& path, absl::string_view what) {
  return absl::FailedPreconditionError(absl::StrCat(path, " ", what));
}

bool IsTheSame(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// The descriptor that holds the lock; -1 when the file was removed meanwhile.
absl::StatusOr<int> TryLock(const std::string& path) {
  const int lock = open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (lock < 0)
    return RecordError(path, absl::StrCat("cannot be opened: ", strerrordesc_np(errno)));
  if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    close(lock);
    if (error == EWOULDBLOCK) {
      return absl::AbortedError("another mayfly process is writing this file");
    }
    return RecordError(path, absl::StrCat("cannot be locked: ", strerrordesc_np(error)));
  }
  struct stat locked = {};
  struct stat there = {};
  if (fstat(lock, &locked) == 0 && lstat(path.c_str(), &there) == 0 && IsTheSame(locked, there)) {
    return lock;
  }
  close(lock);
  return -1;
}

absl::StatusOr<int> Lock(const std::string& path) {
  for (int i = 0; i < kOpensMax; ++i) {
    const absl::StatusOr<int> lock = TryLock(path);
    if (!lock.ok() || *lock >= 0) return lock;
  }
  return RecordError(path, "cannot be locked: other processes remove it again and again");
}

// As its result is printed, and the claim.
nlohmann::json Complete(const client::ClaimedOutput& output) {
  nlohmann::json object = ToJson(output, /*with_data=*/false);
  object["claim_token"] = absl::Base64Escape(output.claim.token);
  object["fence"] = output.claim.fence;
  object["crc32c"] = output.claim.crc32c.value_or(0);
  return object;
}

client::Outcome OutcomeOf(const std::string& name) {
  for (const client::Outcome outcome :
       {client::Outcome::kSuccess, client::Outcome::kTimeout, client::Outcome::kCancelled}) {
    if (client::ToString(outcome) == name) return outcome;
  }
  return client::Outcome::kFailure;
}

std::string TokenOf(const nlohmann::json& object) {
  std::string token;
  absl::Base64Unescape(object.at("claim_token").get<std::string>(), &token);
  return token;
}

client::ClaimedOutput CompleteOf(const nlohmann::json& object) {
  client::ClaimedOutput output;
  output.claim = {.call_id = object.at("call_id"),
                  .token = TokenOf(object),
                  .fence = object.at("fence"),
                  .crc32c = object.at("crc32c").get<uint32_t>()};
  output.attempt = object.at("attempt");
  output.outcome = OutcomeOf(object.at("outcome"));
  output.size_bytes = object.at("size_bytes");
  output.payload.content_type = object.at("content_type");
  output.payload.labels = object.at("labels");
  output.payload.encryption_key_id = object.value("encryption_key_id", "");
  output.data_omitted = true;
  return output;
}

}  // namespace

absl::Status CheckOwnFile(const std::string& path) {
  struct stat about = {};
  if (lstat(path.c_str(), &about) != 0) {
    return RecordError(path, absl::StrCat("cannot be read: ", strerrordesc_np(errno)));
  }
  const bool is_own = S_ISREG(about.st_mode) && about.st_uid == geteuid() && about.st_nlink == 1;
  if (is_own) return absl::OkStatus();
  return RecordError(path, "is not a file of your own: remove it, or write to another directory");
}

absl::StatusOr<std::unique_ptr<DownloadRecord>> DownloadRecord::Open(FileSystem* file_system,
                                                                     const std::string& path) {
  const absl::StatusOr<int> lock = Lock(path);
  RETURN_IF_ERROR(lock.status());
  std::unique_ptr<DownloadRecord> record(new DownloadRecord(file_system, path, *lock));
  RETURN_IF_ERROR(CheckOwnFile(path));
  const absl::Status loaded = record->Load();
  if (loaded.ok()) return record;
  std::error_code error;
  if (std::filesystem::file_size(path, error) == 0) record->Remove().IgnoreError();
  return loaded;
}

DownloadRecord::~DownloadRecord() { close(lock_); }

absl::Status DownloadRecord::Load() {
  absl::StatusOr<std::unique_ptr<File>> file = file_system_->Open(path_, /*create=*/true);
  RETURN_IF_ERROR(file.status());
  file_ = *std::move(file);
  const absl::StatusOr<uint64_t> size = file_->Size();
  RETURN_IF_ERROR(size.status());
  if (*size > kRecordBytesMax) return RecordError(path_, "is damaged: remove it");
  std::string text(*size, '\0');
  RETURN_IF_ERROR(
      file_->ReadAt(0, MutableByteSpan(reinterpret_cast<uint8_t*>(text.data()), text.size())));
  for (size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n', end_)) {
    if (!Read(text.substr(end_, end - end_))) break;
    end_ = end + 1;
  }
  return absl::OkStatus();
}

bool DownloadRecord::Read(const std::string& line) {
  try {
    const nlohmann::json object = nlohmann::json::parse(line);
    if (object.contains("complete")) {
      complete_ = CompleteOf(object.at("complete"));
    } else if (object.contains("attempt")) {
      version_ = {.attempt = object.at("attempt"), .size_bytes = object.at("size_bytes")};
      complete_.reset();
    } else {
      claim_token_ = TokenOf(object);
    }
    return true;
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

absl::Status DownloadRecord::Append(const nlohmann::json& line) {
  const bool is_first = end_ == 0;
  const std::string text =
      line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  RETURN_IF_ERROR(file_->WriteAt(end_, AsBytes(text)));
  RETURN_IF_ERROR(file_->Sync());
  if (is_first) {
    const std::string directory = std::filesystem::path(path_).parent_path().string();
    RETURN_IF_ERROR(file_system_->SyncDirectory(directory.empty() ? "." : directory));
  }
  end_ += text.size();
  return absl::OkStatus();
}

absl::Status DownloadRecord::SetClaimToken(const std::string& token) {
  RETURN_IF_ERROR(Append({{"claim_token", absl::Base64Escape(token)}}));
  claim_token_ = token;
  return absl::OkStatus();
}

absl::Status DownloadRecord::SetVersion(const client::PayloadVersion& version) {
  RETURN_IF_ERROR(Append({{"attempt", version.attempt}, {"size_bytes", version.size_bytes}}));
  version_ = version;
  complete_.reset();
  return absl::OkStatus();
}

absl::Status DownloadRecord::SetComplete(const client::ClaimedOutput& output) {
  RETURN_IF_ERROR(Append({{"complete", Complete(output)}}));
  complete_ = output;
  return absl::OkStatus();
}

absl::Status DownloadRecord::Remove() { return file_system_->Remove(path_); }

}  // namespace mayfly::cli
