// A DescriptorSink writes a payload to stdout as it arrives: to a pipe, a terminal, or a file that
// the shell opened, which it syncs at the end.
//
// Written data cannot be taken back. So it is an error (FAILED_PRECONDITION) if a later attempt
// replaces the output during the transfer, or if the reader closes the pipe. CANCELLED if it is
// interrupted while the pipe is full.
#pragma once

#include "cli/interruption.h"
#include "mayfly/payload_io.h"

namespace mayfly::cli {

// FAILED_PRECONDITION with the text of `error`, an errno.
absl::Status StdoutError(int error);

class DescriptorSink : public client::PayloadSink {
 public:
  // Both must outlive this object.
  DescriptorSink(int descriptor, const Interruption* interruption)
      : descriptor_(descriptor), interruption_(interruption) {}

  absl::Status WriteAt(uint64_t offset, absl::string_view data) override;
  absl::Status Finish(uint64_t size) override;

 private:
  const int descriptor_;
  const Interruption* const interruption_;
  uint64_t written_ = 0;
};

}  // namespace mayfly::cli
