#include "keys/root_key.h"

#include <cstdlib>
#include <cstring>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <memory>
#include <optional>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include <sys/stat.h>

#include "base/error.h"

namespace mayfly {
namespace {

constexpr size_t kDigits = 2 * kRootKeySize;
constexpr mode_t kOwnModeMax = 0600;
constexpr mode_t kCredentialModeMax = 0440;

// A descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

int DigitValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

absl::Status CheckKeptPrivate(const struct stat& info, mode_t mode_max) {
  if (!S_ISREG(info.st_mode)) {
    return absl::FailedPreconditionError("root key file is not a regular file");
  }
  const mode_t mode = info.st_mode & 07777;
  if ((mode & 077 & ~mode_max) != 0) {
    return absl::FailedPreconditionError(
        absl::StrFormat("root key file has mode %04o, limit is %04o", mode, mode_max));
  }
  if (info.st_uid != geteuid() && info.st_uid != 0) {
    return absl::FailedPreconditionError(absl::StrCat("root key file belongs to user ", info.st_uid,
                                                      ", must be user ", geteuid(), " or root"));
  }
  return absl::OkStatus();
}

// `text` holds one byte more than the longest right content, so that more shows.
absl::StatusOr<SecretBytes> Parse(absl::string_view text) {
  if (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  SecretBytes key(kRootKeySize);
  bool right = text.size() == kDigits;
  for (size_t i = 0; right && i < kRootKeySize; ++i) {
    const int high = DigitValue(text[2 * i]);
    const int low = DigitValue(text[2 * i + 1]);
    right = high >= 0 && low >= 0;
    key.ExposeMutableBytes()[i] = static_cast<uint8_t>(high << 4 | low);
  }
  if (right) return key;
  return absl::InvalidArgumentError("root key file must hold 64 hexadecimal digits and no more");
}

absl::StatusOr<SecretBytes> LoadPrivate(const std::string& path, mode_t mode_max) {
  // O_NONBLOCK: opening a FIFO must not wait for its writer.
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) {
    const std::string text = absl::StrCat("root key file: ", strerrordesc_np(errno));
    return errno == ENOENT ? absl::NotFoundError(text) : absl::FailedPreconditionError(text);
  }
  struct stat info;
  if (fstat(file.get(), &info) != 0) {
    return absl::UnavailableError(absl::StrCat("root key file: ", strerrordesc_np(errno)));
  }
  RETURN_IF_ERROR(CheckKeptPrivate(info, mode_max));

  char text[kDigits + 2];
  size_t size = 0;
  while (size < sizeof text) {
    const ssize_t n = read(file.get(), text + size, sizeof text - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return absl::UnavailableError("root key file cannot be read");
    if (n == 0) break;
    size += static_cast<size_t>(n);
  }
  absl::StatusOr<SecretBytes> key = Parse(absl::string_view(text, size));
  WipeMemory(text, sizeof text);
  return key;
}

std::optional<std::string> RealPath(const std::string& path) {
  const std::unique_ptr<char, decltype(&free)> real(realpath(path.c_str(), nullptr), &free);
  if (real == nullptr) return std::nullopt;
  return std::string(real.get());
}

}  // namespace

absl::StatusOr<SecretBytes> LoadRootKey(const std::string& path) {
  return LoadPrivate(path, kOwnModeMax);
}

absl::StatusOr<SecretBytes> LoadRootKeyCredential(const std::string& name) {
  const char* const directory = std::getenv("CREDENTIALS_DIRECTORY");
  if (directory == nullptr) {
    return absl::NotFoundError("root key credential: CREDENTIALS_DIRECTORY is not set");
  }
  if (name.empty() || name.find('/') != std::string::npos) {
    return absl::InvalidArgumentError("root key credential must be a name, not a path");
  }
  return LoadPrivate(absl::StrCat(directory, "/", name), kCredentialModeMax);
}

absl::Status CheckOutside(const std::string& root_key_path, const std::string& data_dir) {
  const auto key = RealPath(root_key_path);
  if (!key) return absl::FailedPreconditionError("root key file cannot be reached");
  auto directory = RealPath(data_dir);
  if (!directory) return absl::FailedPreconditionError("data directory cannot be reached");
  if (directory->back() != '/') directory->push_back('/');
  if (key->compare(0, directory->size(), *directory) == 0) {
    return absl::FailedPreconditionError("root key file is inside the data directory");
  }
  return absl::OkStatus();
}

}  // namespace mayfly
