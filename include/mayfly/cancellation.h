// A Cancellation ends what was started with it, before its time.
//
//   mayfly::client::Cancellation cancellation;
//   client.AwaitOutputAsync(call_id, done, {.wait = absl::Hours(1), .cancellation = cancellation});
//   ...
//   cancellation.Cancel();  // `done` gets CANCELLED, unless it has its answer already
//
// Whatever has it in its options ends with CANCELLED soon after Cancel, and at once when it is
// started later. What it had claimed is given back; what it had asked the server to store may be
// stored or not. Copies are the same Cancellation; one may serve any number of calls. Thread-safe.
#pragma once

#include <memory>

namespace mayfly::client {

class Cancellation {
 public:
  class State;

  Cancellation();

  // May be repeated. Returns at once: the callbacks run where all callbacks do.
  void Cancel() const;
  bool IsCancelled() const;

  // For the library.
  const std::shared_ptr<State>& state() const { return state_; }

 private:
  std::shared_ptr<State> state_;
};

}  // namespace mayfly::client
