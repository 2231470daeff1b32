#include "client/awaited_outputs.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "client/claim_poll.h"
#include "client/convert.h"
#include "client/reclaim.h"

namespace mayfly::client {
namespace {

absl::Status OutputPendingError(absl::Duration wait) {
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kOutputPending,
                   absl::StrCat("no output yet, after a wait of ", absl::FormatDuration(wait)));
}

}  // namespace

// One caller's wait. When its deadline passes, it polls the server.
class AwaitedOutputs::Wait : public CallerOperation<absl::StatusOr<ClaimedOutput>> {
 public:
  Wait(std::shared_ptr<AwaitedOutputs> outputs, const std::shared_ptr<Core>& core,
       std::string call_id, const RetrieveOptions& options, Done done)
      : CallerOperation(core, TimeoutOf(*core, options), std::move(done)),
        outputs_(std::move(outputs)),
        call_id_(std::move(call_id)),
        options_(options) {}
  using Operation::CancelWith;
  using Operation::SetDeadline;

  const std::string& call_id() const { return call_id_; }
  const RetrieveOptions& options() const { return options_; }

 private:
  void OnDeadline() override {
    if (!IsFinished()) outputs_->Ask(core(), SharedFrom(this), absl::ZeroDuration());
  }
  void OnEnd() override { outputs_->Remove(this); }

  const std::shared_ptr<AwaitedOutputs> outputs_;
  const std::string call_id_;
  const RetrieveOptions options_;
};

std::shared_ptr<AwaitedOutputs> AwaitedOutputs::New(const OutputFeed::Settings& settings,
                                                    const std::shared_ptr<Deadlines>& deadlines) {
  auto outputs = std::make_shared<AwaitedOutputs>();
  outputs->feed_ = std::make_shared<OutputFeed>(settings, deadlines, outputs->weak_from_this());
  outputs->holdings_ = std::make_shared<Holdings>(
      deadlines, [weak = outputs->weak_from_this()](const std::string& call_id) {
        if (const auto self = weak.lock()) self->OnFree(call_id);
      });
  outputs->stream_lease_ = settings.lease;
  return outputs;
}

void AwaitedOutputs::Close() {
  feed_->Close();
  holdings_->ForgetAll();
}

void AwaitedOutputs::Await(const std::shared_ptr<Core>& core, std::string call_id,
                           const RetrieveOptions& options, Done done) {
  const auto wait = std::make_shared<Wait>(shared_from_this(), core, std::move(call_id), options,
                                           std::move(done));
  if (!wait->CancelWith(options.cancellation)) return;
  const bool by_stream = options.wait > absl::ZeroDuration() && options.lease == stream_lease_ &&
                         options.claim_token.empty();
  if (!by_stream) return Ask(core, wait, options.wait);
  {
    MutexLock lock(&mutex_);
    if (wait->IsFinished()) return;
    waits_[wait->call_id()].push_back(wait);
    if (!holdings_->IsHeld(wait->call_id())) feed_->Subscribe(core, {wait->call_id()});
  }
  wait->SetDeadline(Elapsed() + options.wait);
}

void AwaitedOutputs::Ask(const std::shared_ptr<Core>& core, const std::shared_ptr<Wait>& wait,
                         absl::Duration how_long) {
  ClaimPoll::Begin(core, {wait->call_id()},
                   {.wait = how_long,
                    .lease = wait->options().lease,
                    .count_max = 1,
                    .bytes_max = kMessageDataBytesMax,
                    .claim_larger = true,
                    .token = wait->options().claim_token,
                    .timeout = wait->timeout(),
                    .cancellation = wait->options().cancellation},
                   [self = shared_from_this(), wait,
                    weak_core = std::weak_ptr<Core>(core)](absl::StatusOr<ClaimedOutputs> claimed) {
                     self->OnAnswer(
                         weak_core, wait,
                         OnlyOutput(std::move(claimed), OutputPendingError(wait->options().wait)));
                   });
}

void AwaitedOutputs::OnAnswer(const std::weak_ptr<Core>& weak_core,
                              const std::shared_ptr<Wait>& wait,
                              absl::StatusOr<ClaimedOutput> output) {
  if (!output.ok() || !wait->IsFinished()) {
    if (output.ok()) holdings_->Hold(wait->core(), *output, wait->options().lease);
    return wait->End(std::move(output));
  }
  // Cancelled meanwhile: others may have the output. Without a client left the claim lapses.
  const std::shared_ptr<Core> core = weak_core.lock();
  if (core == nullptr) return;
  holdings_->Release(core, output->claim, wait->timeout(), std::nullopt,
                     [](const absl::Status&) {});
}

void AwaitedOutputs::Remove(const Wait* wait) {
  MutexLock lock(&mutex_);
  const auto found = waits_.find(wait->call_id());
  if (found == waits_.end()) return;
  Waits& waits = found->second;
  waits.erase(std::remove_if(waits.begin(), waits.end(),
                             [wait](const auto& other) { return other.get() == wait; }),
              waits.end());
  if (!waits.empty()) return;
  waits_.erase(found);
  feed_->Unsubscribe({wait->call_id()});
}

std::shared_ptr<AwaitedOutputs::Wait> AwaitedOutputs::TakeFirst(const std::string& call_id) {
  MutexLock lock(&mutex_);
  const auto found = waits_.find(call_id);
  if (found == waits_.end()) return nullptr;
  std::shared_ptr<Wait> first = std::move(found->second.front());
  found->second.erase(found->second.begin());
  if (found->second.empty()) waits_.erase(found);
  return first;
}

void AwaitedOutputs::OnOutput(const std::string& token, v1::ClaimedOutput* output) {
  feed_->ReturnCredit(1, output->payload().data().size());
  const Claim claim{.call_id = output->call_id(),
                    .token = token,
                    .fence = output->fence(),
                    .crc32c = std::nullopt};
  // One caller has it and is not done with it; OnFree subscribes again for the others.
  if (holdings_->IsHeld(claim.call_id)) return OnStrayOutput(claim);
  const std::shared_ptr<Wait> wait = TakeFirst(claim.call_id);
  if (wait == nullptr) return OnStrayOutput(claim);
  absl::StatusOr<ClaimedOutput> taken = FromProto(token, output);
  if (taken.ok()) {
    holdings_->Hold(wait->core(), *taken, stream_lease_);
  } else {
    OnStrayOutput(claim);
  }
  wait->End(std::move(taken));
}

void AwaitedOutputs::OnStrayOutput(const Claim& claim) {
  // Sent twice; the caller that has it keeps it.
  if (holdings_->Holds(claim)) return;
  feed_->ReleaseStray(claim, [weak = weak_from_this(), id = claim.call_id](const absl::Status&) {
    if (const auto self = weak.lock()) self->OnFree(id);
  });
}

// The claims of a stream are one claimant's: a call that is subscribed while its output is held
// would bring the same output to another caller.
void AwaitedOutputs::OnFree(const std::string& call_id) {
  MutexLock lock(&mutex_);
  if (holdings_->IsHeld(call_id)) return;
  const auto found = waits_.find(call_id);
  if (found != waits_.end()) feed_->Subscribe(found->second.front()->core(), {call_id});
}

void AwaitedOutputs::OnEnded(const std::string& call_id, const absl::Status& status) {
  Waits waits;
  {
    MutexLock lock(&mutex_);
    const auto found = waits_.find(call_id);
    if (found == waits_.end()) return;
    waits = std::move(found->second);
    waits_.erase(found);
  }
  for (const auto& wait : waits) wait->End(status);
}

}  // namespace mayfly::client
