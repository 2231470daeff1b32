// An Operation is something that a caller has asked for and that is not finished yet. It can be
// cancelled, has one deadline at a time, and finishes exactly once.
//
// Derived classes say what happens when the caller cancels (OnCancel) and when the deadline passes
// (OnDeadline). Both run on the core's thread. Answer, cancellation and deadline may come at the
// same time; Finish returns true to the first of them only.
//
//   operation                                when it is cancelled or its deadline passes
//   Batcher::Single, Holdings::AckOperation,
//   AwaitedOutputs::Wait, QueuedTransfer     its callback gets the error at once (CallerOperation);
//                                            the deadline of a Wait asks the server first
//   BatchCall, ClaimPoll (RpcCalls)          the RPCs are cancelled, and then end
//   TransferWatch                            the thread that transfers is woken up
//   OutputStream::State                      the stream is closed
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/time/time.h"

#include "base/mutex.h"
#include "client/cancellation.h"
#include "client/core.h"
#include "client/deadlines.h"
#include "client/time_budget.h"

namespace mayfly::client {

absl::Status CancelledByCaller();
absl::Status NoAnswerWithin(absl::Duration timeout);

// Thread-safe. Its lock may be taken under its owner's, and calls nothing but the locks of
// Cancellation::State and Deadlines.
class Operation : public Deadlines::Listener, public std::enable_shared_from_this<Operation> {
 public:
  ~Operation() override;
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  // On the core's thread.
  void CancelNow();
  bool IsFinished() EXCLUDES_LOCK(mutex_);

 protected:
  explicit Operation(const Core& core);

  // From now on `cancellation` cancels this. False if it has been cancelled already: then OnCancel
  // runs soon, and there is nothing to begin.
  bool CancelWith(const std::optional<Cancellation>& cancellation) EXCLUDES_LOCK(mutex_);
  // In place of the deadline that was set before; `due` is a reading of Elapsed().
  void SetDeadline(absl::Duration due) EXCLUDES_LOCK(mutex_);
  void ClearDeadline() EXCLUDES_LOCK(mutex_);
  // True for the first caller only. Deadline and cancellation end with it.
  bool Finish() EXCLUDES_LOCK(mutex_);
  // Runs `task` on the core's thread.
  void Post(absl::AnyInvocable<void()> task) const;

  virtual void OnCancel() = 0;

 private:
  const std::weak_ptr<Dispatcher> dispatcher_;
  Mutex mutex_;
  bool finished_ GUARDED_BY(mutex_) = false;
  Deadline deadline_ GUARDED_BY(mutex_);
  std::shared_ptr<Cancellation::State> cancellation_ GUARDED_BY(mutex_);
  uint64_t cancellation_id_ GUARDED_BY(mutex_) = 0;
};

// `operation` as a shared pointer of its own type.
template <typename Derived>
std::shared_ptr<Derived> SharedFrom(Derived* operation) {
  return std::static_pointer_cast<Derived>(operation->shared_from_this());
}

// Hands its result to a callback, on the core's thread. It holds the core until then, and lets go
// of it before: the last copy of a client may be dropped in the callback.
template <typename Result>
class CallerOperation : public Operation {
 public:
  using Done = absl::AnyInvocable<void(Result)>;

  CallerOperation(std::shared_ptr<Core> core, absl::Duration timeout, Done done)
      : Operation(*core),
        timeout_(timeout),
        end_(Elapsed() + timeout),
        core_(std::move(core)),
        done_(std::move(done)) {}

  // On the core's thread. Only the first call has an effect.
  void End(Result result) {
    if (!Finish()) return;
    OnEnd();
    Done done = TakeDone();
    core_ = nullptr;
    done(std::move(result));
  }

  absl::Duration timeout() const { return timeout_; }
  // When the timeout will have passed.
  absl::Duration end() const { return end_; }
  absl::Duration Left() const { return std::max(absl::ZeroDuration(), end_ - Elapsed()); }
  // Null when it has ended. On the core's thread, or under a lock that OnEnd takes.
  const std::shared_ptr<Core>& core() const { return core_; }

 protected:
  // Before the callback: for whatever tables the operation is in.
  virtual void OnEnd() {}
  void OnCancel() override { End(CancelledByCaller()); }
  void OnDeadline() override { End(NoAnswerWithin(timeout_)); }

  // For operations that finish on another thread.
  std::shared_ptr<Core> TakeCore() { return std::move(core_); }
  Done TakeDone() { return std::move(done_); }

 private:
  const absl::Duration timeout_;
  const absl::Duration end_;
  std::shared_ptr<Core> core_;
  Done done_;
};

}  // namespace mayfly::client
