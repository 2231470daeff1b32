#include "client/outputs.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "client/claim_poll.h"
#include "client/convert.h"
#include "client/time_budget.h"

namespace mayfly::client {
namespace {

absl::Status OutputPendingError(absl::Duration wait) {
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kOutputPending,
                   absl::StrCat("no output yet, after a wait of ", absl::FormatDuration(wait)));
}

}  // namespace

std::shared_ptr<Outputs> Outputs::New(const OutputFeed::Settings& settings) {
  auto outputs = std::make_shared<Outputs>();
  outputs->feed_ = std::make_shared<OutputFeed>(settings, outputs->weak_from_this());
  outputs->holdings_ = std::make_shared<Holdings>(
      outputs->feed_, [weak = outputs->weak_from_this()](const std::string& call_id) {
        if (const auto self = weak.lock()) self->OnFree(call_id);
      });
  outputs->stream_lease_ = settings.lease;
  outputs->timer_ = std::make_shared<Timer>([weak = outputs->weak_from_this()] {
    if (const auto self = weak.lock()) self->OnTime();
  });
  return outputs;
}

Outputs::~Outputs() { timer_->Stop(); }

void Outputs::Close() {
  feed_->Close();
  holdings_->ForgetAll();
  timer_->Stop();
}

void Outputs::Await(const std::shared_ptr<Core>& core, std::string call_id,
                    const RetrieveOptions& options, Done done) {
  auto op = std::make_shared<WaitOp>();
  op->core = core;
  op->call_id = std::move(call_id);
  op->options = options;
  op->timeout = options.timeout > absl::ZeroDuration() ? options.timeout : core->options().timeout;
  op->done = std::move(done);
  const bool by_stream = options.wait > absl::ZeroDuration() && options.lease == stream_lease_;
  if (!by_stream) {
    op->asks = true;
    HookInto(core, op);
    return Ask(core, op, options.wait);
  }
  op->wait_end = Elapsed() + options.wait;
  {
    MutexLock lock(&mutex_);
    waits_[op->call_id].push_back(op);
    SetTimer(core, op->wait_end);
  }
  if (!holdings_->IsHeld(op->call_id)) feed_->Subscribe(core, {op->call_id});
  HookInto(core, op);
}

// The op may have been ended by the core's thread: nothing else of it is touched here.
void Outputs::HookInto(const std::shared_ptr<Core>& core, const Op& op) {
  if (!op->options.cancellation.has_value()) return;
  std::weak_ptr<Outputs> weak = weak_from_this();
  std::weak_ptr<Dispatcher> weak_dispatcher = core->dispatcher();
  std::weak_ptr<WaitOp> weak_op = op;
  op->hook = CancellationHook(op->options.cancellation, [weak, weak_dispatcher, weak_op] {
    const auto dispatcher = weak_dispatcher.lock();
    if (dispatcher == nullptr) return;
    Dispatcher::Post(dispatcher, [weak, weak_op] {
      const auto self = weak.lock();
      const auto cancelled = weak_op.lock();
      if (self == nullptr || cancelled == nullptr) return;
      self->Remove(cancelled);
      self->End(cancelled, CancelledByCaller());
    });
  });
}

void Outputs::SetTimer(const std::shared_ptr<Core>& core, absl::Duration due) {
  if (due >= timer_due_) return;
  timer_due_ = due;
  core_ = core;
  timer_->SetNoLaterThan(core->dispatcher(), due);
}

void Outputs::OnTime() {
  std::vector<Op> over;
  std::shared_ptr<Core> core;  // not dropped under the lock
  {
    MutexLock lock(&mutex_);
    timer_due_ = absl::InfiniteDuration();
    core = core_.lock();
    if (core == nullptr) return;
    const absl::Duration now = Elapsed();
    absl::Duration next = absl::InfiniteDuration();
    for (auto& [call_id, ops] : waits_) {
      for (const Op& op : ops) {
        if (op->asks) continue;
        if (op->wait_end > now) {
          next = std::min(next, op->wait_end);
          continue;
        }
        op->asks = true;
        over.push_back(op);
      }
    }
    if (next < absl::InfiniteDuration()) SetTimer(core, next);
  }
  for (const Op& op : over) {
    if (!op->ended) Ask(op->core, op, absl::ZeroDuration());
  }
}

void Outputs::Ask(std::shared_ptr<Core> core, const Op& op, absl::Duration wait) {
  ClaimPoll::Begin(core, {op->call_id},
                   {.wait = wait,
                    .lease = op->options.lease,
                    .count_max = 1,
                    .bytes_max = kMessageDataBytesMax,
                    .claim_larger = true,
                    .timeout = op->timeout,
                    .cancellation = op->options.cancellation},
                   [self = shared_from_this(), op,
                    weak_core = std::weak_ptr<Core>(core)](absl::StatusOr<ClaimedOutputs> claimed) {
                     self->OnAnswer(weak_core, op, std::move(claimed));
                   });
}

void Outputs::OnAnswer(const std::weak_ptr<Core>& weak_core, const Op& op,
                       absl::StatusOr<ClaimedOutputs> claimed) {
  if (!op->ended) Remove(op);
  if (!claimed.ok()) return End(op, claimed.status());
  if (!claimed->errors.empty()) return End(op, claimed->errors[0].status);
  if (claimed->outputs.empty()) return End(op, OutputPendingError(op->options.wait));
  ClaimedOutput& output = claimed->outputs[0];
  if (op->ended) {
    // Meanwhile cancelled: whoever wants it may have it. Without a client left the claim lapses.
    const std::shared_ptr<Core> core = weak_core.lock();
    if (core == nullptr) return;
    return holdings_->Release(core, output.claim, op->timeout, std::nullopt,
                              [](const absl::Status&) {});
  }
  holdings_->Hold(op->core, output, op->options.lease);
  End(op, std::move(output));
}

void Outputs::Remove(const Op& op) {
  {
    MutexLock lock(&mutex_);
    const auto found = waits_.find(op->call_id);
    if (found == waits_.end()) return;
    std::vector<Op>& ops = found->second;
    ops.erase(std::remove(ops.begin(), ops.end(), op), ops.end());
    if (!ops.empty()) return;
    waits_.erase(found);
  }
  feed_->Unsubscribe({op->call_id});
}

void Outputs::End(const Op& op, absl::StatusOr<ClaimedOutput> result) {
  if (op->ended) return;
  op->ended = true;
  Done done = std::move(op->done);
  op->core = nullptr;
  done(std::move(result));
}

void Outputs::OnOutput(const std::string& token, v1::ClaimedOutput* output) {
  feed_->ReturnCredit(1, output->payload().data().size());
  const Claim claim{.call_id = output->call_id(),
                    .token = token,
                    .fence = output->fence(),
                    .crc32c = std::nullopt};
  // Whoever has it is not through with it; then the others are told.
  if (holdings_->IsHeld(claim.call_id)) return OnStrayOutput(claim);
  Op op;
  {
    MutexLock lock(&mutex_);
    const auto found = waits_.find(claim.call_id);
    if (found != waits_.end()) {
      op = std::move(found->second.front());
      found->second.erase(found->second.begin());
      if (found->second.empty()) waits_.erase(found);
    }
  }
  if (op == nullptr) return OnStrayOutput(claim);
  absl::StatusOr<ClaimedOutput> taken = FromProto(token, output);
  if (taken.ok()) {
    holdings_->Hold(op->core, *taken, stream_lease_);
  } else {
    OnStrayOutput(claim);
  }
  End(op, std::move(taken));
}

void Outputs::OnStrayOutput(const Claim& claim) {
  // Sent twice; the caller that has it keeps it.
  if (holdings_->Holds(claim)) return;
  Holdings::ReleaseDone done = [weak = weak_from_this(), id = claim.call_id](const absl::Status&) {
    if (const auto self = weak.lock()) self->OnFree(id);
  };
  feed_->Release(claim, &done);
}

// The claims of a stream are one claimant's: a call that is subscribed while its output is held would
// bring the same output to another caller.
void Outputs::OnFree(const std::string& call_id) {
  if (holdings_->IsHeld(call_id)) return;
  std::shared_ptr<Core> core;
  {
    MutexLock lock(&mutex_);
    const auto found = waits_.find(call_id);
    if (found != waits_.end()) core = found->second.front()->core;
  }
  if (core != nullptr) feed_->Subscribe(core, {call_id});
}

void Outputs::OnEnded(const std::string& call_id, const absl::Status& status) {
  std::vector<Op> ops;
  {
    MutexLock lock(&mutex_);
    const auto found = waits_.find(call_id);
    if (found == waits_.end()) return;
    ops = std::move(found->second);
    waits_.erase(found);
  }
  for (const Op& op : ops) End(op, status);
}

}  // namespace mayfly::client
