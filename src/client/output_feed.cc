#include "client/output_feed.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "client/batchers.h"
#include "client/convert.h"
#include "client/limits.h"
#include "client/pause.h"
#include "client/random.h"
#include "client/sessions.h"
#include "client/status.h"
#include "client/time_budget.h"

namespace mayfly::client {
namespace {

constexpr uint32_t kWindowItems = 4096;
constexpr uint64_t kWindowBytes = 32 << 20;
constexpr absl::Duration kLease = absl::Seconds(30);

// Errors that end the feed for good. Any other error may be the network's, and another stream
// helps.
bool IsFinal(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kNotFound:
      return true;
    default:
      return false;
  }
}

}  // namespace

OutputFeed::Settings OutputFeed::SettingsOf(const ClientOptions& options) {
  Settings settings;
  settings.window_items = kWindowItems;
  settings.window_bytes = kWindowBytes;
  settings.message_data_bytes_max = std::min(options.batch_bytes_max, kMessageDataBytesMax);
  settings.lease = kLease;
  settings.subscriptions_max = kStreamSubscriptionsMax;
  settings.retry = options.retry;
  return settings;
}

OutputFeed::OutputFeed(const Settings& settings, std::shared_ptr<Deadlines> deadlines,
                       std::weak_ptr<Listener> listener)
    : retry_(settings.retry),
      token_(NewClaimToken()),
      listener_(std::move(listener)),
      queue_(settings, token_),
      start_deadline_(std::move(deadlines)) {}

OutputFeed::~OutputFeed() {
  if (session_ != nullptr) session_->EndSubscription(subscription_, /*keeps_claims=*/false);
}

void OutputFeed::Subscribe(const std::shared_ptr<Core>& core,
                           const std::vector<std::string>& call_ids) {
  {
    MutexLock lock(&mutex_);
    if (closed_) return;
    core_ = core;
    for (const std::string& call_id : call_ids) queue_.Subscribe(call_id);
  }
  Proceed();
}

void OutputFeed::Unsubscribe(const std::vector<std::string>& call_ids) {
  {
    MutexLock lock(&mutex_);
    for (const std::string& call_id : call_ids) queue_.Unsubscribe(call_id);
  }
  Proceed();
}

void OutputFeed::ReleaseStray(const Claim& claim, absl::AnyInvocable<void(absl::Status)> done) {
  std::shared_ptr<Core> core;
  {
    MutexLock lock(&mutex_);
    core = core_.lock();
  }
  if (core == nullptr) return;
  core->batchers()->release_outputs()->Submit(core, claim, core->options().timeout, std::nullopt,
                                              std::move(done));
}

void OutputFeed::ReturnCredit(uint32_t items, uint64_t bytes) {
  {
    MutexLock lock(&mutex_);
    // Less credit than this leaves with the next message that is written anyway.
    if (!queue_.ReturnCredit(items, bytes)) return;
  }
  Proceed();
}

void OutputFeed::Close() {
  std::shared_ptr<Session> session;
  uint64_t subscription = 0;
  {
    MutexLock lock(&mutex_);
    closed_ = true;
    queue_.StopWaiting();
    start_deadline_.Clear();
    session = std::move(session_);
    subscription = subscription_;
  }
  if (session != nullptr) session->EndSubscription(subscription, /*keeps_claims=*/false);
}

void OutputFeed::Proceed() {
  std::shared_ptr<Core> core;  // not dropped under the lock
  std::shared_ptr<Session> session;
  uint64_t subscription = 0;
  {
    MutexLock lock(&mutex_);
    session = session_;
    subscription = subscription_;
    if (session == nullptr) {
      if (closed_ || opening_ || !queue_.IsWaiting()) return;
      if (Elapsed() < start_at_) return start_deadline_.Set(start_at_, weak_from_this());
      core = core_.lock();
      if (core == nullptr) return;
      opening_ = true;
      queue_.Reopen();
    }
  }
  if (session != nullptr) return session->RequestFlush(subscription);
  Open(core);
}

void OutputFeed::Open(const std::shared_ptr<Core>& core) {
  Sessions::Place place = core->sessions()->Attach(*core, weak_from_this());
  bool is_closed = false;
  {
    MutexLock lock(&mutex_);
    opening_ = false;
    is_closed = closed_;
    if (!is_closed) {
      session_ = place.session;
      subscription_ = place.subscription;
      stub_ = place.session->stub();
    }
  }
  if (is_closed) return place.session->EndSubscription(place.subscription, /*keeps_claims=*/false);
  place.session->RequestFlush(place.subscription);
}

void OutputFeed::OnDeadline() { Proceed(); }

bool OutputFeed::FillRequest(uint64_t subscription, v1::SubscriptionRequest* request) {
  MutexLock lock(&mutex_);
  if (session_ == nullptr || subscription != subscription_) return false;
  return queue_.FillRequest(request);
}

void OutputFeed::OnResponse(uint64_t, v1::SubscriptionResponse* response) {
  FeedQueue::Expected expected;
  std::shared_ptr<Core> recovered;
  bool subscribes_more = false;
  {
    MutexLock lock(&mutex_);
    if (closed_) return;
    if (!response->has_end() && std::exchange(failures_, 0) > 0) recovered = core_.lock();
    expected = queue_.Take(*response);
    subscribes_more = queue_.HasMoreToSubscribe();
  }
  if (subscribes_more) Proceed();
  if (recovered != nullptr) recovered->connections()->OnAnswer();
  recovered = nullptr;
  Bring(expected, response);
}

void OutputFeed::Bring(const FeedQueue::Expected& expected, v1::SubscriptionResponse* response) {
  const auto listener = listener_.lock();
  if (listener == nullptr) return;
  for (int i = 0; i < response->outputs_size(); ++i) {
    v1::ClaimedOutput* output = response->mutable_outputs(i);
    if (expected.outputs[i]) {
      listener->OnOutput(token_, output);
      continue;
    }
    ReturnCredit(1, output->payload().data().size());
    listener->OnStrayOutput({.call_id = output->call_id(),
                             .token = token_,
                             .fence = output->fence(),
                             .crc32c = std::nullopt});
  }
  for (int i = 0; i < response->ended_size(); ++i) {
    if (!expected.ends[i]) continue;
    listener->OnEnded(response->ended(i).call_id(), StatusFromProto(response->ended(i).status()));
  }
}

absl::Status OutputFeed::Explain(const absl::Status& status) {
  std::shared_ptr<Core> core;
  std::shared_ptr<Connections::Stub> used;
  {
    MutexLock lock(&mutex_);
    core = core_.lock();
    used = stub_;
  }
  return core == nullptr ? status : core->connections()->Explain(status, used);
}

// What the old subscription has claimed still comes, and its claims last.
void OutputFeed::OnRetired(uint64_t subscription) {
  std::shared_ptr<Session> retired;
  {
    MutexLock lock(&mutex_);
    if (session_ == nullptr || subscription != subscription_) return;
    retired = std::move(session_);
    subscription_ = 0;
  }
  retired->EndSubscription(subscription, /*keeps_claims=*/true);
  Proceed();
}

void OutputFeed::OnSubscriptionEnd(uint64_t subscription, const absl::Status& end) {
  const absl::Status status = end.ok() ? end : Explain(end);
  std::vector<std::string> ended;
  {
    MutexLock lock(&mutex_);
    if (session_ == nullptr || subscription != subscription_) return;
    session_ = nullptr;
    subscription_ = 0;
    if (IsFinal(status)) ended = queue_.StopWaiting();
    start_at_ = Elapsed() + std::max(PauseAfter(failures_++, retry_), RetryDelayOf(status));
  }
  Proceed();
  const auto listener = listener_.lock();
  if (listener == nullptr) return;
  for (const std::string& call_id : ended) listener->OnEnded(call_id, status);
}

}  // namespace mayfly::client
