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

constexpr absl::string_view kMake = "(umask 077; openssl rand -hex 32 >";

// A file that holds a root key, and the setting that names it.
struct KeyFile {
  absl::string_view setting;
  const std::string& path;
  mode_t mode_max;

  // "keys.root_key_file /etc/mayfly/root.key", the beginning of all texts.
  std::string Name() const { return absl::StrCat(setting, " ", path); }
};

absl::Status CannotOpen(const KeyFile& file, int error) {
  const std::string text = absl::StrCat(file.Name(), " cannot be opened by user ", geteuid(), ": ",
                                        strerrordesc_np(error), ": ");
  if (error == ENOENT) {
    return absl::NotFoundError(
        absl::StrCat(text, "correct the setting, or for a new store make the file with ", kMake,
                     file.path, ")"));
  }
  return absl::FailedPreconditionError(
      absl::StrCat(text, "give the file to the user who runs the server (chown ", geteuid(), " ",
                   file.path, "), and see that this user may enter its directory"));
}

absl::Status CheckKeptPrivate(const KeyFile& file, const struct stat& info) {
  if (!S_ISREG(info.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(
        file.Name(), " is not a regular file: name a file with 64 hexadecimal digits"));
  }
  const mode_t mode = info.st_mode & 07777;
  if ((mode & 077 & ~file.mode_max) != 0) {
    return absl::FailedPreconditionError(
        absl::StrFormat("%s has mode %04o, limit is %04o: run chmod %04o %s", file.Name(), mode,
                        file.mode_max, file.mode_max, file.path));
  }
  if (info.st_uid != geteuid() && info.st_uid != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(file.Name(), " belongs to user ", info.st_uid, ", expected user ", geteuid(),
                     ", who runs the server, or root: run chown ", geteuid(), " ", file.path));
  }
  return absl::OkStatus();
}

absl::Status CannotRead(const KeyFile& file, int error) {
  return absl::UnavailableError(
      absl::StrCat(file.Name(), " cannot be read: ", strerrordesc_np(error)));
}

// `text` holds one byte more than the longest right content, so that more shows.
absl::StatusOr<SecretBytes> Parse(const KeyFile& file, absl::string_view text) {
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
  return absl::InvalidArgumentError(absl::StrCat(
      file.Name(),
      " holds something else than 64 hexadecimal digits and a line's end: put back the "
      "key of this store, or for a new store make the file with ",
      kMake, file.path, ")"));
}

absl::StatusOr<SecretBytes> LoadPrivate(const KeyFile& key_file) {
  // O_NONBLOCK: opening a FIFO must not wait for its writer.
  const Descriptor file(open(key_file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) return CannotOpen(key_file, errno);
  struct stat info;
  if (fstat(file.get(), &info) != 0) return CannotRead(key_file, errno);
  RETURN_IF_ERROR(CheckKeptPrivate(key_file, info));

  char text[kDigits + 2];
  size_t size = 0;
  while (size < sizeof text) {
    const ssize_t n = read(file.get(), text + size, sizeof text - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return CannotRead(key_file, errno);
    if (n == 0) break;
    size += static_cast<size_t>(n);
  }
  absl::StatusOr<SecretBytes> key = Parse(key_file, absl::string_view(text, size));
  WipeMemory(text, sizeof text);
  return key;
}

std::optional<std::string> RealPath(const std::string& path) {
  const std::unique_ptr<char, decltype(&free)> real(realpath(path.c_str(), nullptr), &free);
  if (real == nullptr) return std::nullopt;
  return std::string(real.get());
}

}  // namespace

absl::StatusOr<SecretBytes> LoadRootKey(const std::string& path, absl::string_view setting) {
  return LoadPrivate({.setting = setting, .path = path, .mode_max = kOwnModeMax});
}

absl::StatusOr<SecretBytes> LoadRootKeyCredential(const std::string& name) {
  const char* const directory = std::getenv("CREDENTIALS_DIRECTORY");
  if (directory == nullptr) {
    return absl::NotFoundError(absl::StrCat("keys.root_key_credential is ", name,
                                            ", but CREDENTIALS_DIRECTORY is not set: run the "
                                            "server as a systemd service with LoadCredential=",
                                            name,
                                            ":FILE, or set "
                                            "keys.root_key_file instead"));
  }
  if (name.empty() || name.find('/') != std::string::npos) {
    return absl::InvalidArgumentError("keys.root_key_credential must be a name, not a path");
  }
  const std::string path = absl::StrCat(directory, "/", name);
  return LoadPrivate(
      {.setting = "keys.root_key_credential", .path = path, .mode_max = kCredentialModeMax});
}

absl::Status CheckOutside(const std::string& root_key_path, const std::string& data_dir) {
  const auto key = RealPath(root_key_path);
  if (!key) {
    return absl::FailedPreconditionError(absl::StrCat(
        "root key file ", root_key_path, " cannot be reached: ", strerrordesc_np(errno)));
  }
  auto directory = RealPath(data_dir);
  if (!directory) {
    return absl::FailedPreconditionError(absl::StrCat(
        "storage.data_dir ", data_dir, " cannot be reached: ", strerrordesc_np(errno)));
  }
  if (directory->back() != '/') directory->push_back('/');
  if (key->compare(0, directory->size(), *directory) == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("root key file ", root_key_path, " is inside storage.data_dir ", data_dir,
                     ", so that a copy of that directory could be read: move it elsewhere and "
                     "change the setting"));
  }
  return absl::OkStatus();
}

}  // namespace mayfly
