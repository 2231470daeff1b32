// A Cancellation ends calls early.
//
//   mayfly::client::Cancellation cancellation;
//   client.AwaitOutputAsync(call_id, done, {.wait = absl::Hours(1), .cancellation = cancellation});
//   ...
//   cancellation.Cancel();  // `done` gets CANCELLED, unless it has got its answer
//
// Calls with the Cancellation in their options end with CANCELLED soon after Cancel. Calls that are
// made later end with CANCELLED at once. Outputs that a cancelled call has claimed are released;
// data that it has sent to be stored may be stored or not. Copies are the same Cancellation, and
// one Cancellation may serve any number of calls. Thread-safe.
#pragma once

#include <memory>

namespace mayfly::client {

class Cancellation {
 public:
  class State;

  Cancellation();

  // May be called repeatedly. Returns at once: callbacks run on the client's thread, as always.
  void Cancel() const;
  bool IsCancelled() const;

  // For the library.
  const std::shared_ptr<State>& state() const { return state_; }

 private:
  std::shared_ptr<State> state_;
};

}  // namespace mayfly::client
