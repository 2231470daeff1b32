#include "client/reception.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "client/collector.h"
#include "client/convert.h"
#include "client/download.h"
#include "client/time_budget.h"
#include "client/transfer_pool.h"

namespace mayfly::client {

std::shared_ptr<OutputStream::Reception> OutputStream::Reception::New(
    std::shared_ptr<Core> core, const OutputStreamOptions& options, OnEvent on_event) {
  auto reception =
      std::shared_ptr<Reception>(new Reception(std::move(core), options, std::move(on_event)));
  OutputFeed::Settings settings = OutputFeed::SettingsOf(reception->core_->options());
  settings.window_items = std::max<uint32_t>(1, options.window_items);
  settings.window_bytes = std::max<uint64_t>(1, options.window_bytes);
  settings.lease = options.lease;
  reception->feed_ = std::make_shared<OutputFeed>(settings, reception->weak_from_this());
  reception->holdings_ = std::make_shared<Holdings>(reception->feed_);
  reception->hook_ = CancellationHook(options.cancellation, [weak = reception->weak_from_this()] {
    if (const auto self = weak.lock()) self->Close(/*is_cancelled=*/true);
  });
  return reception;
}

void OutputStream::Reception::Subscribe(std::vector<std::string> call_ids) {
  // The server would send it once more: to the same stream, it is the same claim.
  const auto is_held = [this](const std::string& call_id) { return holdings_->IsHeld(call_id); };
  call_ids.erase(std::remove_if(call_ids.begin(), call_ids.end(), is_held), call_ids.end());
  {
    MutexLock lock(&mutex_);
    if (closed_) return;
    const auto is_known = [this](const std::string& call_id)
                              REQUIRES_LOCK(mutex_) { return !untold_.insert(call_id).second; };
    call_ids.erase(std::remove_if(call_ids.begin(), call_ids.end(), is_known), call_ids.end());
  }
  feed_->Subscribe(core_, call_ids);
}

void OutputStream::Reception::Unsubscribe(const std::vector<std::string>& call_ids) {
  {
    MutexLock lock(&mutex_);
    for (const std::string& call_id : call_ids) untold_.erase(call_id);
    changed_.NotifyAll();
  }
  feed_->Unsubscribe(call_ids);
}

absl::StatusOr<OutputEvent> OutputStream::Reception::Next(absl::Duration wait) {
  Check(!core_->IsOwnThread(), "a callback of a client does not wait for the client");
  Check(on_event_ == nullptr, "the events of a stream go to its callback or to Next");
  const absl::Duration until = Elapsed() + wait;
  Event next;
  {
    MutexLock lock(&mutex_);
    while (cancelled_ || events_.empty()) {
      if (cancelled_) return CancelledByCaller();
      if (untold_.empty()) return absl::OutOfRangeError("every subscribed call has been told of");
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
  Settle(next);
  return std::move(next.event);
}

void OutputStream::Reception::Ack(const Claim& claim, OnAck done) {
  {
    MutexLock lock(&mutex_);
    ++unanswered_;
  }
  holdings_->Ack(core_, claim, core_->options().timeout, std::nullopt,
                 [self = shared_from_this(),
                  done = std::move(done)](absl::StatusOr<absl::Time> result) mutable {
                   const absl::Status untold = done == nullptr ? result.status() : absl::OkStatus();
                   // First: whoever has waited for Flush may look at what the callback did.
                   if (done != nullptr) done(std::move(result));
                   self->OnAnswered(untold);
                 });
}

void OutputStream::Reception::Release(const Claim& claim) {
  {
    MutexLock lock(&mutex_);
    ++unanswered_;
  }
  // An error is none to the caller: what is not released lapses.
  holdings_->Release(
      core_, claim, core_->options().timeout, std::nullopt,
      [self = shared_from_this()](const absl::Status&) { self->OnAnswered(absl::OkStatus()); });
}

void OutputStream::Reception::OnAnswered(const absl::Status& status) {
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

absl::Status OutputStream::Reception::Flush(absl::Duration timeout) {
  Check(!core_->IsOwnThread(), "a callback of a client does not wait for the client");
  const TimeBudget budget(timeout);
  MutexLock lock(&mutex_);
  while (unanswered_ > 0) {
    if (budget.Left() <= absl::ZeroDuration()) return NoAnswerWithin(timeout);
    changed_.WaitFor(&mutex_, std::min(budget.Left(), absl::Hours(1)));
  }
  return std::exchange(ack_error_, absl::OkStatus());
}

size_t OutputStream::Reception::PendingCount() {
  MutexLock lock(&mutex_);
  return untold_.size() + events_.size();
}

void OutputStream::Reception::Close(bool is_cancelled) {
  bool close_feed = false;
  std::deque<ClaimedOutput> not_to_download;
  {
    MutexLock lock(&mutex_);
    closed_ = true;
    cancelled_ = cancelled_ || is_cancelled;
    untold_.clear();
    not_to_download.swap(to_download_);
    close_feed = unanswered_ == 0 || is_cancelled;
    changed_.NotifyAll();
  }
  downloads_.Cancel();
  // The stream's end releases what is held; the acks that are under way go first.
  if (close_feed) feed_->Close();
}

void OutputStream::Reception::OnOutput(const std::string& token, v1::ClaimedOutput* output) {
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
      {
        MutexLock lock(&mutex_);
        to_download_.push_back(*std::move(taken));
      }
      return StartDownloads();
    }
  }
  Deliver({.event = {.call_id = claim.call_id, .output = std::move(taken)},
           .credit_bytes = bytes,
           .has_credit = true});
}

void OutputStream::Reception::StartDownloads() {
  std::vector<ClaimedOutput> starting;
  {
    MutexLock lock(&mutex_);
    while (!to_download_.empty() && !closed_) {
      const uint64_t bytes = to_download_.front().size_bytes;
      if (brought_bytes_ > 0 && brought_bytes_ + bytes > options_.window_bytes) break;
      brought_bytes_ += bytes;
      starting.push_back(std::move(to_download_.front()));
      to_download_.pop_front();
    }
  }
  for (ClaimedOutput& notice : starting) StartDownload(std::move(notice));
}

// On a thread that may block.
void OutputStream::Reception::StartDownload(ClaimedOutput notice) {
  core_->transfer_pool()->Start([self = shared_from_this(), notice = std::move(notice)]() mutable {
    absl::StatusOr<ClaimedOutput> whole =
        DownloadOutputToMemory(self->core_, notice, self->options_.data_bytes_max,
                               {.timeout = absl::ZeroDuration(), .cancellation = self->downloads_});
    const std::shared_ptr<Dispatcher> dispatcher = self->core_->dispatcher();
    Dispatcher::Post(dispatcher, [self = std::move(self), notice = std::move(notice),
                                  whole = std::move(whole)]() mutable {
      self->OnDownloaded(notice, std::move(whole));
    });
  });
}

void OutputStream::Reception::OnDownloaded(const ClaimedOutput& notice,
                                           absl::StatusOr<ClaimedOutput> whole) {
  const std::string& call_id = notice.claim.call_id;
  Event event{.event = {.call_id = call_id, .output = std::move(whole)},
              .has_credit = true,
              .brought_bytes = notice.size_bytes};
  if (event.event.output.ok()) {
    holdings_->Hold(core_, *event.event.output, options_.lease);
    return Deliver(std::move(event));
  }
  if (ReasonOf(event.event.output.status()) != Reason::kClaimLost) {
    Release(notice.claim);
    return Deliver(std::move(event));
  }
  // Another client has it, which may give it back.
  holdings_->Forget(notice.claim);
  Settle(event);
  bool is_wanted = false;
  {
    MutexLock lock(&mutex_);
    is_wanted = untold_.contains(call_id);
  }
  if (is_wanted) feed_->Subscribe(core_, {call_id});
}

void OutputStream::Reception::OnStrayOutput(const Claim& claim) {
  // Sent twice; whoever has it keeps it.
  if (holdings_->IsHeld(claim.call_id)) return;
  Holdings::ReleaseDone nobody_waits = [](const absl::Status&) {};
  feed_->Release(claim, &nobody_waits);
}

void OutputStream::Reception::OnEnded(const std::string& call_id, const absl::Status& status) {
  Deliver({.event = {.call_id = call_id, .output = status}});
}

void OutputStream::Reception::Deliver(Event event) {
  bool is_wanted = false;
  {
    MutexLock lock(&mutex_);
    is_wanted = untold_.erase(event.event.call_id) > 0 && !closed_;
    if (is_wanted && on_event_ == nullptr) {
      events_.push_back(std::move(event));
      changed_.NotifyAll();
      return;
    }
  }
  if (is_wanted) {
    on_event_(std::move(event.event));
  } else if (event.event.output.ok()) {
    Release(event.event.output->claim);  // unsubscribed while it was on its way
  }
  Settle(event);
}

void OutputStream::Reception::Settle(const Event& event) {
  if (event.has_credit) feed_->ReturnCredit(1, event.credit_bytes);
  if (event.brought_bytes == 0) return;
  {
    MutexLock lock(&mutex_);
    brought_bytes_ -= event.brought_bytes;
  }
  StartDownloads();
}

// ---- OutputStream

OutputStream::OutputStream(std::shared_ptr<Reception> reception)
    : reception_(std::move(reception)) {}

OutputStream::~OutputStream() {
  if (reception_ != nullptr) reception_->Close(/*is_cancelled=*/false);
}

OutputStream& OutputStream::operator=(OutputStream&& other) noexcept {
  std::swap(reception_, other.reception_);
  return *this;
}

void OutputStream::Subscribe(std::vector<std::string> call_ids) const {
  reception_->Subscribe(std::move(call_ids));
}

void OutputStream::Unsubscribe(const std::vector<std::string>& call_ids) const {
  reception_->Unsubscribe(call_ids);
}

absl::StatusOr<OutputEvent> OutputStream::Next(absl::Duration wait) const {
  return reception_->Next(wait);
}

void OutputStream::Ack(const Claim& claim) const { reception_->Ack(claim, nullptr); }

void OutputStream::Ack(const Claim& claim, OnAck done) const {
  reception_->Ack(claim, std::move(done));
}

void OutputStream::Release(const Claim& claim) const { reception_->Release(claim); }

absl::Status OutputStream::Flush(absl::Duration timeout) const {
  return reception_->Flush(timeout);
}

size_t OutputStream::PendingCount() const { return reception_->PendingCount(); }

}  // namespace mayfly::client
