// A Stepper takes the place of the store's threads, so that a test decides in one thread what happens
// when (tests/sim).
#pragma once

#include <vector>

#include "absl/functional/function_ref.h"

#include "base/executor.h"

namespace mayfly {

class Committer;

class Stepper {
 public:
  virtual ~Stepper() = default;
  // In place of the worker threads.
  virtual Executor* workers() = 0;
  // The committers to step, by shard. Called before anything is submitted; they live until the store
  // waits for nothing any more.
  virtual void TakeCommitters(const std::vector<Committer*>& committers) = 0;
  // Called where a thread would wait: returns when `is_done`, which takes steps and closures of workers.
  virtual void RunUntil(absl::FunctionRef<bool()> is_done) = 0;
};

}  // namespace mayfly
