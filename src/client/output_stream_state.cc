#include "client/output_stream_state.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "client/convert.h"
#include "client/time_budget.h"

namespace mayfly::client {

std::shared_ptr<OutputStream::State> OutputStream::State::New(std::shared_ptr<Core> core,
                                                              const OutputStreamOptions& options,
                                                              OnEvent on_event) {
  const auto state =
      std::shared_ptr<State>(new State(std::move(core), options, std::move(on_event)));
  const std::weak_ptr<State> weak = state;
  const std::shared_ptr<Deadlines>& deadlines = state->core_->deadlines();
  OutputFeed::Settings settings = OutputFeed::SettingsOf(state->core_->options());
  settings.window_items = std::max<uint32_t>(1, options.window_items);
  settings.window_bytes = std::max<uint64_t>(1, options.window_bytes);
  settings.lease = options.lease;
  state->feed_ = std::make_shared<OutputFeed>(settings, deadlines, weak);
  state->holdings_ = std::make_shared<Holdings>(deadlines);
  state->downloads_ = std::make_shared<WindowedDownloads>(
      options.window_bytes, options.data_bytes_max,
      [weak](const ClaimedOutput& announced, absl::StatusOr<ClaimedOutput> whole) {
        if (const auto self = weak.lock()) self->OnDownloaded(announced, std::move(whole));
      });
  if (!state->CancelWith(options.cancellation)) state->Close(/*is_cancelled=*/true);
  return state;
}

void OutputStream::State::Subscribe(std::vector<std::string> call_ids) {
  // The server would send it once more: to the same stream, it is the same claim.
  const auto is_held = [this](const std::string& call_id) { return holdings_->IsHeld(call_id); };
  call_ids.erase(std::remove_if(call_ids.begin(), call_ids.end(), is_held), call_ids.end());
  {
    MutexLock lock(&mutex_);
    if (closed_) return;
    const auto is_known = [this](const std::string& call_id) REQUIRES_LOCK(mutex_) {
      return !undelivered_.insert(call_id).second;
    };
    call_ids.erase(std::remove_if(call_ids.begin(), call_ids.end(), is_known), call_ids.end());
  }
  feed_->Subscribe(core_, call_ids);
}

void OutputStream::State::Unsubscribe(const std::vector<std::string>& call_ids) {
  {
    MutexLock lock(&mutex_);
    for (const std::string& call_id : call_ids) undelivered_.erase(call_id);
    changed_.NotifyAll();
  }
  feed_->Unsubscribe(call_ids);
}

absl::StatusOr<OutputEvent> OutputStream::State::Next(absl::Duration wait) {
  core_->CheckMayWait();
  Check(on_event_ == nullptr, "the events of a stream go to its callback or to Next");
  const absl::Duration until = Elapsed() + wait;
  Event next;
  {
    MutexLock lock(&mutex_);
    while (true) {
      if (IsCancelled(options_.cancellation)) return CancelledByCaller();
      if (!events_.empty()) break;
      if (undelivered_.empty())
        return absl::OutOfRangeError("every subscribed call has been told of");
      const absl::Duration left = until - Elapsed();
      if (left <= absl::ZeroDuration()) {
        return absl::DeadlineExceededError(
            absl::StrCat("no output within ", absl::FormatDuration(wait)));
      }
      changed_.WaitFor(&mutex_, std::min(left, absl::Hours(1)));
    }
    next = std::move(events_.front());
    events_.pop_front();
  }
  ReturnCredit(next);
  return std::move(next.event);
}

void OutputStream::State::Ack(const Claim& claim, OnAck done) {
  {
    MutexLock lock(&mutex_);
    ++unanswered_;
  }
  holdings_->Ack(
      core_, claim, core_->options().timeout, std::nullopt,
      [self = SharedFrom(this), done = std::move(done)](absl::StatusOr<absl::Time> result) mutable {
        const absl::Status for_flush = done == nullptr ? result.status() : absl::OkStatus();
        // First: the caller of Flush may look at what the callback did.
        if (done != nullptr) done(std::move(result));
        self->OnAnswered(for_flush);
      });
}

void OutputStream::State::Release(const Claim& claim) {
  {
    MutexLock lock(&mutex_);
    ++unanswered_;
  }
  // The caller need not know of errors: a claim that is not released lapses.
  holdings_->Release(
      core_, claim, core_->options().timeout, std::nullopt,
      [self = SharedFrom(this)](const absl::Status&) { self->OnAnswered(absl::OkStatus()); });
}

void OutputStream::State::OnAnswered(const absl::Status& status) {
  bool is_last = false;
  {
    MutexLock lock(&mutex_);
    if (ack_error_.ok()) ack_error_ = status;
    --unanswered_;
    is_last = closed_ && unanswered_ == 0;
    if (unanswered_ == 0) changed_.NotifyAll();
  }
  if (is_last) feed_->Close();
}

absl::Status OutputStream::State::Flush(absl::Duration timeout) {
  core_->CheckMayWait();
  const TimeBudget budget(timeout);
  MutexLock lock(&mutex_);
  while (unanswered_ > 0) {
    if (budget.Left() <= absl::ZeroDuration()) return NoAnswerWithin(timeout);
    changed_.WaitFor(&mutex_, std::min(budget.Left(), absl::Hours(1)));
  }
  return std::exchange(ack_error_, absl::OkStatus());
}

size_t OutputStream::State::PendingCount() {
  MutexLock lock(&mutex_);
  return undelivered_.size() + events_.size();
}

void OutputStream::State::Close(bool is_cancelled) {
  bool close_feed = false;
  {
    MutexLock lock(&mutex_);
    closed_ = true;
    undelivered_.clear();
    close_feed = unanswered_ == 0 || is_cancelled;
    changed_.NotifyAll();
  }
  downloads_->Close();
  // The end of the stream releases the outputs that are held, so acks under way are waited for.
  if (close_feed) feed_->Close();
}

void OutputStream::State::WaitForCallback() {
  if (core_->IsOwnThread()) return;
  MutexLock lock(&mutex_);
  while (in_callback_) changed_.Wait(&mutex_);
}

void OutputStream::State::OnOutput(const std::string& token, v1::ClaimedOutput* output) {
  const uint64_t bytes = output->payload().data().size();
  const Claim claim{.call_id = output->call_id(),
                    .token = token,
                    .fence = output->fence(),
                    .crc32c = std::nullopt};
  absl::StatusOr<ClaimedOutput> taken = FromProto(token, output);
  if (!taken.ok()) {
    OnStrayOutput(claim);
  } else {
    holdings_->Hold(core_, *taken, options_.lease);
    if (taken->data_omitted && taken->size_bytes <= options_.data_bytes_max) {
      return downloads_->Add(core_, *std::move(taken));
    }
  }
  Deliver({.event = {.call_id = claim.call_id, .output = std::move(taken)},
           .credit_bytes = bytes,
           .has_credit = true});
}

void OutputStream::State::OnDownloaded(const ClaimedOutput& announced,
                                       absl::StatusOr<ClaimedOutput> whole) {
  const std::string& call_id = announced.claim.call_id;
  Event event{.event = {.call_id = call_id, .output = std::move(whole)},
              .has_credit = true,
              .downloaded_bytes = announced.size_bytes};
  if (event.event.output.ok()) {
    holdings_->Hold(core_, *event.event.output, options_.lease);
    return Deliver(std::move(event));
  }
  if (ReasonOf(event.event.output.status()) != Reason::kClaimLost) {
    Release(announced.claim);
    return Deliver(std::move(event));
  }
  // Another client has it, which may give it back.
  holdings_->Forget(announced.claim);
  ReturnCredit(event);
  bool is_wanted = false;
  {
    MutexLock lock(&mutex_);
    is_wanted = undelivered_.contains(call_id);
  }
  if (is_wanted) feed_->Subscribe(core_, {call_id});
}

void OutputStream::State::OnStrayOutput(const Claim& claim) {
  // Sent twice; the caller that has it keeps it.
  if (holdings_->IsHeld(claim.call_id)) return;
  feed_->ReleaseStray(claim, [](const absl::Status&) {});
}

void OutputStream::State::OnEnded(const std::string& call_id, const absl::Status& status) {
  Deliver({.event = {.call_id = call_id, .output = status}});
}

void OutputStream::State::Deliver(Event event) {
  bool is_wanted = false;
  {
    MutexLock lock(&mutex_);
    is_wanted = undelivered_.erase(event.event.call_id) > 0 && !closed_;
    if (is_wanted && on_event_ == nullptr) {
      events_.push_back(std::move(event));
      changed_.NotifyAll();
      return;
    }
    in_callback_ = is_wanted;
  }
  if (is_wanted) {
    on_event_(std::move(event.event));
    MutexLock lock(&mutex_);
    in_callback_ = false;
    changed_.NotifyAll();
  } else if (event.event.output.ok()) {
    Release(event.event.output->claim);  // unsubscribed while it was on its way
  }
  ReturnCredit(event);
}

void OutputStream::State::ReturnCredit(const Event& event) {
  if (event.has_credit) feed_->ReturnCredit(1, event.credit_bytes);
  if (event.downloaded_bytes > 0) downloads_->ReturnBytes(core_, event.downloaded_bytes);
}

}  // namespace mayfly::client
