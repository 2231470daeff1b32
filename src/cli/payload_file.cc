#include "cli/payload_file.h"

#include <algorithm>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <utility>

#include "absl/strings/str_cat.h"
#include <sys/stat.h>

#include "base/error.h"
#include "mayfly/client_options.h"

namespace mayfly::cli {
namespace {

// Callers never request more at a time.
constexpr size_t kPieceBytesMax = 2 << 20;

std::string ReadErrorText(int error) {
  return absl::StrCat("FILE cannot be read: ", strerrordesc_np(error));
}

absl::Status OpenError(const std::string& path, int error) {
  return absl::FailedPreconditionError(
      absl::StrCat("FILE ", path, " cannot be read: ", strerrordesc_np(error)));
}

bool IsOpenForReading(int descriptor) {
  const int flags = fcntl(descriptor, F_GETFL);
  return flags >= 0 && (flags & O_ACCMODE) != O_WRONLY;
}

// An open file, closed on destruction if it is owned.
class Descriptor {
 public:
  Descriptor(int number, bool is_ours) : number_(number), is_ours_(is_ours) {}
  Descriptor(Descriptor&& other) noexcept
      : number_(other.number_), is_ours_(std::exchange(other.is_ours_, false)) {}
  ~Descriptor() {
    if (is_ours_) close(number_);
  }

  int number() const { return number_; }

 private:
  const int number_;
  bool is_ours_;
};

class RegularFile : public client::PayloadSource {
 public:
  RegularFile(Descriptor file, uint64_t begin, uint64_t size)
      : file_(std::move(file)), begin_(begin), size_(size) {}

  std::optional<uint64_t> SizeBytes() const override { return size_; }

  absl::StatusOr<size_t> ReadAt(uint64_t offset, char* buffer, size_t size) override {
    size_t done = 0;
    while (done < size) {
      const ssize_t count = pread(file_.number(), buffer + done, size - done,
                                  static_cast<off_t>(begin_ + offset + done));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return absl::FailedPreconditionError(ReadErrorText(errno));
      if (count == 0) break;
      done += static_cast<size_t>(count);
    }
    return done;
  }

 private:
  const Descriptor file_;
  const uint64_t begin_;
  const uint64_t size_;
};

class Pipe : public client::PayloadSource {
 public:
  Pipe(Descriptor file, const Interruption* interruption)
      : file_(std::move(file)), interruption_(interruption) {
    // Reserve now: growing would need the memory twice. Unused memory takes no pages.
    kept_.reserve(2 * kPipeKeptBytes + kPieceBytesMax);
  }

  absl::StatusOr<size_t> ReadAt(uint64_t offset, char* buffer, size_t size) override {
    if (offset < kept_offset_) {
      return absl::FailedPreconditionError(
          absl::StrCat("the payload comes from a pipe and cannot be read again from byte ", offset,
                       " after the connection broke"));
    }
    RETURN_IF_ERROR(ReadUpTo(offset + size));
    const uint64_t end = std::min(offset + size, kept_offset_ + kept_.size());
    if (end <= offset) return 0;
    const size_t count = end - offset;
    memcpy(buffer, kept_.data() + (offset - kept_offset_), count);
    return count;
  }

 private:
  absl::Status ReadUpTo(uint64_t end) {
    while (!ended_ && kept_offset_ + kept_.size() < end) {
      const size_t before = kept_.size();
      kept_.resize(end - kept_offset_);
      const ssize_t count = read(file_.number(), kept_.data() + before, kept_.size() - before);
      const int error = errno;
      kept_.resize(before + static_cast<size_t>(std::max<ssize_t>(count, 0)));
      if (count < 0 && error != EINTR) return absl::FailedPreconditionError(ReadErrorText(error));
      if (count < 0 && interruption_ != nullptr && interruption_->IsInterrupted()) {
        return absl::CancelledError("interrupted");
      }
      if (count == 0) ended_ = true;
    }
    Forget();
    return absl::OkStatus();
  }

  // Only when half of it can be dropped, so that the rest is rarely moved.
  void Forget() {
    if (kept_.size() < 2 * kPipeKeptBytes) return;
    const size_t forgotten = kept_.size() - kPipeKeptBytes;
    kept_.erase(0, forgotten);
    kept_offset_ += forgotten;
  }

  const Descriptor file_;
  const Interruption* const interruption_;
  std::string kept_;  // the data read, from kept_offset_ on
  uint64_t kept_offset_ = 0;
  bool ended_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<client::PayloadSource>> OpenPayload(
    const std::string& path, int standard_input, const Interruption* interruption) {
  const bool is_ours = path != "-";
  Descriptor file(is_ours ? open(path.c_str(), O_RDONLY | O_CLOEXEC) : standard_input, is_ours);
  if (!is_ours && !IsOpenForReading(standard_input)) {
    return absl::FailedPreconditionError("stdin is closed");
  }
  struct stat about = {};
  if (file.number() < 0 || fstat(file.number(), &about) != 0) {
    const bool is_interrupted =
        errno == EINTR && interruption != nullptr && interruption->IsInterrupted();
    return is_interrupted ? absl::CancelledError("interrupted") : OpenError(path, errno);
  }
  if (S_ISDIR(about.st_mode)) return OpenError(path, EISDIR);
  const off_t begin = lseek(file.number(), 0, SEEK_CUR);
  if (!S_ISREG(about.st_mode) || begin < 0) {
    return std::make_unique<Pipe>(std::move(file), interruption);
  }
  const off_t size = std::max<off_t>(about.st_size - begin, 0);
  return std::make_unique<RegularFile>(std::move(file), begin, size);
}

absl::StatusOr<bool> ReadIfItFits(client::PayloadSource* source, std::string* data) {
  const uint64_t size_max = client::kMessageDataBytesMax;
  if (source->SizeBytes().value_or(0) > size_max) return false;
  data->resize(size_max + 1);
  size_t filled = 0;
  while (filled < data->size()) {
    const absl::StatusOr<size_t> count =
        source->ReadAt(filled, data->data() + filled, data->size() - filled);
    RETURN_IF_ERROR(count.status());
    if (*count == 0) break;
    filled += *count;
  }
  const bool fits = filled <= size_max;
  data->resize(fits ? filled : 0);
  data->shrink_to_fit();
  return fits;
}

}  // namespace mayfly::cli
