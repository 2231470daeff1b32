#include "cli/descriptor_sink.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include <sys/stat.h>

namespace mayfly::cli {
namespace {

bool IsRegularFile(int descriptor) {
  struct stat about = {};
  return fstat(descriptor, &about) == 0 && S_ISREG(about.st_mode);
}

}  // namespace

absl::Status StdoutError(int error) {
  if (error == EBADF) return absl::FailedPreconditionError("stdout is closed");
  return absl::FailedPreconditionError(
      absl::StrCat("stdout cannot be written to: ", strerrordesc_np(error)));
}

absl::Status DescriptorSink::WriteAt(uint64_t offset, absl::string_view data) {
  if (offset != written_) {
    return absl::FailedPreconditionError(
        absl::StrCat("a later attempt replaced the output after ", written_,
                     " bytes of the earlier one were written to stdout"));
  }
  while (!data.empty()) {
    if (interruption_->IsInterrupted()) return absl::CancelledError("interrupted");
    const ssize_t count = write(descriptor_, data.data(), data.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return StdoutError(errno);
    written_ += static_cast<uint64_t>(count);
    data.remove_prefix(static_cast<size_t>(count));
  }
  return absl::OkStatus();
}

absl::Status DescriptorSink::Finish(uint64_t size) {
  if (size != written_) return WriteAt(size, "");
  if (!IsRegularFile(descriptor_) || fdatasync(descriptor_) == 0) return absl::OkStatus();
  return StdoutError(errno);
}

}  // namespace mayfly::cli
