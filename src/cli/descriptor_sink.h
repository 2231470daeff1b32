// A DescriptorSink writes a payload to stdout as it comes: into a pipe, a terminal, or a file of the
// shell's, which it syncs at the end.
//
// What was written cannot be taken back. An output that a later attempt replaced on the way is an
// error, and so is a reader that has gone: FAILED_PRECONDITION. CANCELLED when it is interrupted
// while nobody reads.
#pragma once

#include "cli/interruption.h"
#include "mayfly/payload_io.h"

namespace mayfly::cli {

class DescriptorSink : public client::PayloadSink {
 public:
  // Both outlive this.
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
