// A QueuedTransfer waits for a thread of the TransferPool. It can be cancelled and run out of time
// while it waits, because long transfers may be before it.
#pragma once

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"

#include "client/core.h"
#include "client/operation.h"
#include "client/time_budget.h"
#include "client/transfer_pool.h"
#include "mayfly/client_options.h"

namespace mayfly::client {

// Owned by its place in the pool. It is finished as an operation when its transfer begins: from
// then on the transfer itself minds timeout and cancellation.
template <typename T>
class QueuedTransfer : public CallerOperation<T> {
 public:
  using Done = typename CallerOperation<T>::Done;
  // Blocks a thread of the pool. The options have what is left of the timeout.
  using Transfer = absl::AnyInvocable<T(const std::shared_ptr<Core>&, const CallOptions&)>;
  // Called on the core's thread if the transfer does not begin, to clean up in its place.
  using GiveUp = absl::AnyInvocable<void(const std::shared_ptr<Core>&)>;

  static void Start(const std::shared_ptr<Core>& core, CallOptions options, Transfer transfer,
                    Done done, GiveUp give_up = nullptr) {
    auto queued = std::shared_ptr<QueuedTransfer>(new QueuedTransfer(
        core, std::move(options), std::move(transfer), std::move(done), std::move(give_up)));
    if (!queued->CancelWith(queued->options_.cancellation)) return;
    if (queued->HasTimeout()) queued->SetDeadline(queued->end());
    core->transfer_pool()->Start([queued] { queued->Run(); });
  }

 private:
  QueuedTransfer(const std::shared_ptr<Core>& core, CallOptions options, Transfer transfer,
                 Done done, GiveUp give_up)
      : CallerOperation<T>(core, options.timeout, std::move(done)),
        options_(std::move(options)),
        transfer_(std::move(transfer)),
        give_up_(std::move(give_up)) {}

  bool HasTimeout() const { return options_.timeout > absl::ZeroDuration(); }

  // On a thread of the pool.
  void Run() {
    if (!this->Finish()) return;
    CallOptions options = options_;
    if (HasTimeout()) options.timeout = std::max(absl::Milliseconds(1), this->Left());
    std::shared_ptr<Core> core = this->TakeCore();
    T result = transfer_(core, options);
    transfer_ = nullptr;
    // The core must not be destroyed on one of its own transfer threads, and not after `done`.
    const std::shared_ptr<Dispatcher> dispatcher = core->dispatcher();
    Dispatcher::Post(dispatcher, [core = std::move(core), done = this->TakeDone(),
                                  result = std::move(result)]() mutable {
      core = nullptr;
      done(std::move(result));
    });
  }

  void OnEnd() override {
    transfer_ = nullptr;
    if (give_up_ != nullptr) give_up_(this->core());
  }

  const CallOptions options_;
  Transfer transfer_;
  GiveUp give_up_;
};

}  // namespace mayfly::client
