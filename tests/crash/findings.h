// Counts the operations of a run and collects violations. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdio>

#include "absl/strings/string_view.h"

namespace mayfly {

class Findings {
 public:
  // Printed at once: a run that goes wrong may not come to its end. Only the first few, since one
  // fault can show in thousands of calls.
  void Report(absl::string_view text) {
    if (count_.fetch_add(1) >= kPrintedMax) return;
    std::fprintf(stderr, "VIOLATION: %.*s\n", static_cast<int>(text.size()), text.data());
  }
  uint64_t count() const { return count_.load(); }

 private:
  static constexpr uint64_t kPrintedMax = 20;
  std::atomic<uint64_t> count_{0};
};

}  // namespace mayfly
