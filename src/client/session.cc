#include "client/session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "client/sessions.h"
#include "client/time_budget.h"

namespace mayfly::client {
namespace {

// A frame has at least one request, of any size.
constexpr int kFrameRequestsMax = 256;
constexpr size_t kFrameBytesMax = 256 << 10;
constexpr int kFrameSubscriptionsMax = 16;

Completion::Then RunAll(std::vector<Completion::Then> thens) {
  if (thens.empty()) return nullptr;
  if (thens.size() == 1) return std::move(thens.front());
  return [thens = std::move(thens)]() mutable {
    for (Completion::Then& then : thens) then();
  };
}

// The status that a session's end is for its requests: one that has them repeated, unless another
// session would end alike.
absl::Status StatusOfEnd(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kUnimplemented:
      return status;
    case absl::StatusCode::kOk:
    case absl::StatusCode::kCancelled:  // the client cancels one only when it has no calls left
      return absl::UnavailableError("the session ended before the answer");
    default:  // what gRPC says of a stream that it could not go on with
      return absl::UnavailableError(
          absl::StrCat("the session ended before the answer: ", status.message()));
  }
}

}  // namespace

Session::Session(std::shared_ptr<Connections::Stub> stub,
                 const std::shared_ptr<Deadlines>& deadlines, const SessionTimes& times,
                 std::weak_ptr<Sessions> sessions)
    : stub_(std::move(stub)),
      idle_(times.idle),
      use_end_(Elapsed() + times.use),
      sessions_(std::move(sessions)),
      last_used_(Elapsed()),
      deadline_(deadlines) {}

void Session::Open(std::shared_ptr<Dispatcher> dispatcher) {
  MutexLock lock(&mutex_);
  dispatcher_ = dispatcher;
  stream_ = Stream::Start(std::move(dispatcher), stub_.get(),
                          &v1::FunctionIo::StubInterface::PrepareAsyncSession, weak_from_this());
  deadline_.Set(last_used_ + idle_, weak_from_this());
}

bool Session::Send(Dispatcher* dispatcher, const Entry& entry) {
  {
    MutexLock lock(&mutex_);
    if (closing_) return false;
    const uint64_t number = next_number_++;
    entry.request->set_number(number);
    entry.call->OnTaken(shared_from_this(), number);
    entries_.emplace(number, entry);
    waiting_.push_back(number);
    last_used_ = Elapsed();
    if (!writable_ || flush_requested_) return true;
    flush_requested_ = true;
  }
  dispatcher->FlushLast(shared_from_this());
  return true;
}

std::shared_ptr<Session::Call> Session::Withdraw(uint64_t number) {
  MutexLock lock(&mutex_);
  const auto found = entries_.find(number);
  if (found == entries_.end()) return nullptr;
  std::shared_ptr<Call> call = std::move(found->second.call);
  entries_.erase(found);
  AwaitSerialized(number);
  HalfCloseIfDone();
  return call;
}

uint64_t Session::Attach(std::weak_ptr<Feed> feed) {
  MutexLock lock(&mutex_);
  if (closing_) return 0;
  last_used_ = Elapsed();
  subscriptions_[++last_subscription_].feed = std::move(feed);
  return last_subscription_;
}

void Session::RequestFlush(uint64_t subscription) {
  std::shared_ptr<Dispatcher> dispatcher;
  {
    MutexLock lock(&mutex_);
    const auto found = subscriptions_.find(subscription);
    if (found == subscriptions_.end() || found->second.ends_with.has_value()) return;
    found->second.has_more = true;
    dispatcher = NeedFlush();
  }
  FlushWith(dispatcher);
}

void Session::EndSubscription(uint64_t subscription, bool keeps_claims) {
  std::shared_ptr<Dispatcher> dispatcher;
  {
    MutexLock lock(&mutex_);
    const auto found = subscriptions_.find(subscription);
    if (found == subscriptions_.end() || found->second.ends_with.has_value()) return;
    found->second.ends_with = keeps_claims;
    dispatcher = NeedFlush();
  }
  FlushWith(dispatcher);
}

std::shared_ptr<Dispatcher> Session::NeedFlush() {
  if (!writable_ || flush_requested_) return nullptr;
  std::shared_ptr<Dispatcher> dispatcher = dispatcher_.lock();
  flush_requested_ = dispatcher != nullptr;
  return dispatcher;
}

void Session::FlushWith(const std::shared_ptr<Dispatcher>& dispatcher) {
  if (dispatcher != nullptr) dispatcher->FlushLast(shared_from_this());
}

void Session::Retire() {
  {
    MutexLock lock(&mutex_);
    closing_ = true;
    HalfCloseIfDone();
  }
  TellRetired();
}

void Session::TellRetired() {
  std::vector<std::pair<uint64_t, std::shared_ptr<Feed>>> feeds;
  {
    MutexLock lock(&mutex_);
    for (const auto& [number, subscription] : subscriptions_) {
      if (subscription.ends_with.has_value()) continue;
      if (auto feed = subscription.feed.lock()) feeds.emplace_back(number, std::move(feed));
    }
  }
  for (const auto& [number, feed] : feeds) feed->OnRetired(number);
}

void Session::Cancel() {
  MutexLock lock(&mutex_);
  closing_ = true;
  if (stream_ != nullptr) stream_->Cancel();
}

void Session::Flush() {
  v1::SessionRequest frame;
  std::shared_ptr<Stream> stream;
  std::vector<std::shared_ptr<Feed>> feeds;  // not dropped under the lock: a feed's end takes it
  uint64_t last = 0;
  {
    MutexLock lock(&mutex_);
    flush_requested_ = false;
    if (!writable_) return;
    last = FillFrame(&frame);
    feeds = FillSubscriptions(&frame);
    if (frame.requests().empty() && frame.subscriptions().empty()) return HalfCloseIfDone();
    writable_ = false;
    stream = stream_;
  }
  stream->Write(frame);
  frame.mutable_requests()->UnsafeArenaExtractSubrange(0, frame.requests_size(), nullptr);
  MutexLock lock(&mutex_);
  // The next frame may be through already, on another thread.
  serialized_ = std::max(serialized_, last);
  serialized_changed_.NotifyAll();
}

uint64_t Session::FillFrame(v1::SessionRequest* frame) {
  size_t bytes = 0;
  auto* const requests = frame->mutable_requests();
  for (; !waiting_.empty() && requests->size() < kFrameRequestsMax; waiting_.pop_front()) {
    const auto found = entries_.find(waiting_.front());
    if (found == entries_.end()) continue;  // withdrawn
    bytes += found->second.request_bytes;
    if (!requests->empty() && bytes > kFrameBytesMax) break;
    requests->UnsafeArenaAddAllocated(found->second.request);
    taken_ = found->first;
  }
  return taken_;
}

std::vector<std::shared_ptr<Session::Feed>> Session::FillSubscriptions(v1::SessionRequest* frame) {
  std::vector<std::shared_ptr<Feed>> feeds;
  for (auto& [number, subscription] : subscriptions_) {
    if (frame->subscriptions_size() >= kFrameSubscriptionsMax) break;
    if (subscription.ends_with.has_value()) {
      if (std::exchange(subscription.end_is_sent, true)) continue;
      v1::SubscriptionRequest* const request = frame->add_subscriptions();
      request->set_number(number);
      request->mutable_end()->set_keep_claims(*subscription.ends_with);
      continue;
    }
    if (!subscription.has_more) continue;
    std::shared_ptr<Feed> feed = subscription.feed.lock();
    if (feed == nullptr) continue;
    v1::SubscriptionRequest* const request = frame->add_subscriptions();
    subscription.has_more = feed->FillRequest(number, request);
    request->set_number(number);
    if (!subscription.has_more) frame->mutable_subscriptions()->RemoveLast();
    feeds.push_back(std::move(feed));
  }
  return feeds;
}

void Session::AwaitSerialized(uint64_t number) {
  while (number > serialized_ && number <= taken_) serialized_changed_.Wait(&mutex_);
}

void Session::HalfCloseIfDone() {
  if (!closing_ || !writable_ || !entries_.empty() || !subscriptions_.empty()) return;
  writable_ = false;
  half_closed_ = true;
  stream_->WritesDone();
  deadline_.Set(Elapsed() + idle_, weak_from_this());
}

void Session::OnDeadline() {
  bool is_retired = false;
  {
    MutexLock lock(&mutex_);
    if (stream_ == nullptr) return;
    const absl::Duration now = Elapsed();
    absl::Duration next = std::max(now, last_used_) + idle_;
    // A stream that cannot be written to for so long has not come about.
    const bool is_idle = entries_.empty() && now >= last_used_ + idle_;
    if (half_closed_ || (is_idle && !writable_)) {
      stream_->Cancel();
    } else if (is_idle && subscriptions_.empty()) {
      closing_ = true;
      return HalfCloseIfDone();
    } else if (entries_.empty() && subscriptions_.empty()) {
      next = last_used_ + idle_;
    }
    // Requests would open another session, but there may be none for hours.
    is_retired = !closing_ && !subscriptions_.empty() && now >= use_end_;
    deadline_.Set(next, weak_from_this());
  }
  if (is_retired) Retire();
}

void Session::OnWritable() {
  {
    MutexLock lock(&mutex_);
    writable_ = stream_ != nullptr && !half_closed_;
  }
  Flush();
}

Completion::Then Session::OnResponse(v1::SessionResponse* response) {
  std::vector<std::shared_ptr<Call>> calls(response->responses_size());
  {
    MutexLock lock(&mutex_);
    for (size_t i = 0; i < calls.size(); ++i) {
      const uint64_t number = response->responses(static_cast<int>(i)).number();
      const auto found = entries_.find(number);
      if (found == entries_.end()) continue;  // withdrawn
      calls[i] = std::move(found->second.call);
      entries_.erase(found);
      AwaitSerialized(number);
    }
    HalfCloseIfDone();
  }
  for (v1::SubscriptionResponse& part : *response->mutable_subscriptions()) BringTo(&part);
  std::vector<Completion::Then> thens;
  for (size_t i = 0; i < calls.size(); ++i) {
    if (calls[i] == nullptr) continue;
    Completion::Then then = calls[i]->OnAnswered(response->mutable_responses(static_cast<int>(i)));
    if (then != nullptr) thens.push_back(std::move(then));
  }
  return RunAll(std::move(thens));
}

void Session::BringTo(v1::SubscriptionResponse* response) {
  const uint64_t number = response->number();
  std::shared_ptr<Feed> feed;
  const bool is_over = response->has_end();
  {
    MutexLock lock(&mutex_);
    const auto found = subscriptions_.find(number);
    if (found == subscriptions_.end()) return;
    feed = found->second.feed.lock();
    if (is_over) subscriptions_.erase(found);
    HalfCloseIfDone();
  }
  if (feed == nullptr) return;
  feed->OnResponse(number, response);
  if (is_over) feed->OnSubscriptionEnd(number, StatusFromProto(response->end()));
}

Completion::Then Session::OnBroken(const absl::Status& status) {
  std::vector<std::shared_ptr<Call>> calls;
  Subscriptions subscriptions;
  {
    MutexLock lock(&mutex_);
    closing_ = true;
    writable_ = false;
    stream_ = nullptr;
    deadline_.Clear();
    waiting_.clear();
    calls.reserve(entries_.size());
    for (auto& [number, entry] : entries_) calls.push_back(std::move(entry.call));
    entries_.clear();
    subscriptions.swap(subscriptions_);
  }
  if (const auto sessions = sessions_.lock()) sessions->OnEnd(this);
  for (const auto& [number, subscription] : subscriptions) {
    const absl::Status why = status.ok() ? StatusOfEnd(status) : status;
    if (const auto feed = subscription.feed.lock()) feed->OnSubscriptionEnd(number, why);
  }
  std::vector<Completion::Then> thens;
  for (const std::shared_ptr<Call>& call : calls) {
    Completion::Then then = call->OnSessionEnd(StatusOfEnd(status));
    if (then != nullptr) thens.push_back(std::move(then));
  }
  return RunAll(std::move(thens));
}

}  // namespace mayfly::client
