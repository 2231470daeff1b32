// An Executor runs closures later: on threads of its own (thread_pool.h), or, in tests, when a test
// says so. Thread-safe.
#pragma once

#include <cstddef>

#include "absl/functional/any_invocable.h"

namespace mayfly {

class Executor {
 public:
  virtual ~Executor() = default;
  // Never runs `work` before it returns.
  virtual void Run(absl::AnyInvocable<void()> work) = 0;
  // How many closures may run at once.
  virtual size_t thread_count() const = 0;
};

}  // namespace mayfly
