// A QueuedTransfer waits for a thread of the TransferPool, and is cancelled or runs out of time
// while it waits too: others may be long before it.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

#include "client/cancellation.h"
#include "client/core.h"
#include "client/time_budget.h"
#include "client/timer.h"
#include "client/transfer_pool.h"
#include "mayfly/client_options.h"

namespace mayfly::client {

// Owned by its place in the pool; once it was begun or given up, that is all that is left of it.
template <typename T>
class QueuedTransfer : public std::enable_shared_from_this<QueuedTransfer<T>> {
 public:
  // Blocks; on a thread of the pool, with what is left of the options' timeout.
  using Transfer = absl::AnyInvocable<T(const std::shared_ptr<Core>&, const CallOptions&)>;
  // On the core's thread, in place of the transfer: what it would have had to clean up.
  using GiveUp = absl::AnyInvocable<void(const std::shared_ptr<Core>&)>;
  using Done = absl::AnyInvocable<void(T)>;

  static void Start(std::shared_ptr<Core> core, CallOptions options, Transfer transfer, Done done,
                    GiveUp give_up = nullptr) {
    TransferPool* const pool = core->transfer_pool();
    auto queued = std::shared_ptr<QueuedTransfer>(new QueuedTransfer(
        core, std::move(options), std::move(transfer), std::move(done), std::move(give_up)));
    queued->Watch(core->dispatcher());
    // `core` holds the pool until this has returned.
    pool->Start([queued = std::move(queued)] { queued->Run(); });
  }

 private:
  QueuedTransfer(std::shared_ptr<Core> core, CallOptions options, Transfer transfer, Done done,
                 GiveUp give_up)
      : core_(std::move(core)),
        options_(std::move(options)),
        end_(Elapsed() + options_.timeout),
        transfer_(std::move(transfer)),
        done_(std::move(done)),
        give_up_(std::move(give_up)) {}

  bool HasTimeout() const { return options_.timeout > absl::ZeroDuration(); }

  void Watch(const std::shared_ptr<Dispatcher>& dispatcher) {
    const std::weak_ptr<QueuedTransfer> weak = this->weak_from_this();
    if (HasTimeout()) {
      timer_ = std::make_shared<Timer>([weak] {
        if (const auto self = weak.lock()) {
          self->End(absl::DeadlineExceededError(
              absl::StrCat("no answer within ", absl::FormatDuration(self->options_.timeout))));
        }
      });
      timer_->SetNoLaterThan(dispatcher, end_);
    }
    const std::weak_ptr<Dispatcher> weak_dispatcher = dispatcher;
    hook_ = CancellationHook(options_.cancellation, [weak, weak_dispatcher] {
      const auto running = weak_dispatcher.lock();
      if (running == nullptr) return;
      Dispatcher::Post(running, [weak] {
        if (const auto self = weak.lock()) self->End(CancelledByCaller());
      });
    });
  }

  // On a thread of the pool.
  void Run() {
    if (was_taken_.exchange(true)) return;
    if (timer_ != nullptr) timer_->Stop();
    CallOptions options = options_;
    if (HasTimeout()) options.timeout = std::max(absl::Milliseconds(1), end_ - Elapsed());
    T result = transfer_(core_, options);
    transfer_ = nullptr;
    const std::shared_ptr<Dispatcher> dispatcher = core_->dispatcher();
    // The core must not go on one of its own transfer threads, nor after `done`.
    Dispatcher::Post(dispatcher, [core = std::move(core_), done = std::move(done_),
                                  result = std::move(result)]() mutable {
      core = nullptr;
      done(std::move(result));
    });
  }

  // On the core's thread.
  void End(const absl::Status& status) {
    if (was_taken_.exchange(true)) return;
    if (timer_ != nullptr) timer_->Stop();
    transfer_ = nullptr;
    if (give_up_ != nullptr) give_up_(core_);
    core_ = nullptr;
    Done done = std::move(done_);
    done(status);
  }

  std::shared_ptr<Core> core_;
  const CallOptions options_;
  const absl::Duration end_;
  Transfer transfer_;
  Done done_;
  GiveUp give_up_;
  std::shared_ptr<Timer> timer_;
  CancellationHook hook_;
  std::atomic<bool> was_taken_ = false;  // by the thread that runs it, or ends it
};

}  // namespace mayfly::client
