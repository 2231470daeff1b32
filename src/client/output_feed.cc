#include "client/output_feed.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "client/convert.h"
#include "client/limits.h"
#include "client/pause.h"
#include "client/random.h"
#include "client/status.h"
#include "client/time_budget.h"

namespace mayfly::client {
namespace {

constexpr uint32_t kWindowItems = 4096;
constexpr uint64_t kWindowBytes = 32 << 20;
constexpr absl::Duration kLease = absl::Seconds(30);

// Asking again does not help. Whatever else ends a stream may be the network's doing.
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

template <typename T>
std::vector<T> TakeFirst(size_t count, std::deque<T>* queue) {
  std::vector<T> taken;
  for (; count > 0 && !queue->empty(); --count) {
    taken.push_back(std::move(queue->front()));
    queue->pop_front();
  }
  return taken;
}

}  // namespace

OutputFeed::Settings OutputFeed::SettingsOf(const ClientOptions& options) {
  return {.window_items = kWindowItems,
          .window_bytes = kWindowBytes,
          .message_data_bytes_max = std::min(options.batch_bytes_max, kMessageDataBytesMax),
          .lease = kLease,
          .retry = options.retry,
          .subscriptions_max = kStreamSubscriptionsMax};
}

OutputFeed::OutputFeed(const Settings& settings, std::weak_ptr<Listener> listener)
    : settings_(settings), listener_(std::move(listener)) {}

OutputFeed::~OutputFeed() {
  if (timer_ != nullptr) timer_->Stop();
  if (stream_ != nullptr) stream_->Cancel();
}

void OutputFeed::Subscribe(const std::shared_ptr<Core>& core,
                           const std::vector<std::string>& call_ids) {
  std::shared_ptr<Dispatcher> dispatcher;
  {
    MutexLock lock(&mutex_);
    if (closed_) return;
    core_ = core;
    dispatcher_ = core->dispatcher();
    for (const std::string& call_id : call_ids) {
      if (waiting_.emplace(call_id, false).second) to_subscribe_.push_back(call_id);
    }
    dispatcher = RequestFlush();
  }
  FlushWith(dispatcher);
}

void OutputFeed::Unsubscribe(const std::vector<std::string>& call_ids) {
  std::shared_ptr<Dispatcher> dispatcher;
  {
    MutexLock lock(&mutex_);
    for (const std::string& call_id : call_ids) {
      if (StopWaiting(call_id)) to_unsubscribe_.push_back(call_id);
    }
    dispatcher = RequestFlush();
  }
  FlushWith(dispatcher);
}

bool OutputFeed::Ack(const Claim& claim, AckDone* done) {
  std::shared_ptr<Dispatcher> dispatcher;
  {
    MutexLock lock(&mutex_);
    if (!IsOfStream(claim)) return false;
    to_ack_.push_back({.claim = claim, .done = std::move(*done)});
    dispatcher = RequestFlush();
  }
  FlushWith(dispatcher);
  return true;
}

bool OutputFeed::Release(const Claim& claim, ReleaseDone* done) {
  std::shared_ptr<Dispatcher> dispatcher;
  {
    MutexLock lock(&mutex_);
    if (!IsOfStream(claim)) return false;
    to_release_.push_back({.claim = claim, .done = std::move(*done)});
    dispatcher = RequestFlush();
  }
  FlushWith(dispatcher);
  return true;
}

void OutputFeed::ReturnCredit(uint32_t items, uint64_t bytes) {
  std::shared_ptr<Dispatcher> dispatcher;
  {
    MutexLock lock(&mutex_);
    taken_items_ -= items;
    taken_bytes_ -= bytes;
    credit_items_ += items;
    credit_bytes_ += bytes;
    // Otherwise it rides on the next message that there is anyway.
    if (credit_items_ < (settings_.window_items + 1) / 2 &&
        credit_bytes_ < settings_.window_bytes / 2) {
      return;
    }
    dispatcher = RequestFlush();
  }
  FlushWith(dispatcher);
}

void OutputFeed::Close() {
  MutexLock lock(&mutex_);
  closed_ = true;
  waiting_.clear();
  if (timer_ != nullptr) timer_->Stop();
  if (stream_ != nullptr) stream_->Cancel();
}

bool OutputFeed::IsOfStream(const Claim& claim) {
  return stream_ != nullptr && !closed_ && opened_ && claim.token == token_;
}

std::shared_ptr<Dispatcher> OutputFeed::RequestFlush() {
  const bool nothing_can_be_done = stream_ != nullptr && !writable_;
  if (flush_requested_ || nothing_can_be_done) return nullptr;
  std::shared_ptr<Dispatcher> dispatcher = dispatcher_.lock();
  flush_requested_ = dispatcher != nullptr;
  return dispatcher;
}

void OutputFeed::FlushWith(const std::shared_ptr<Dispatcher>& dispatcher) {
  if (dispatcher != nullptr) dispatcher->FlushSoon(shared_from_this());
}

void OutputFeed::Flush() {
  std::shared_ptr<Core> core;  // not dropped under the lock
  MutexLock lock(&mutex_);
  flush_requested_ = false;
  core = core_.lock();
  if (closed_ || core == nullptr) return;
  if (stream_ == nullptr) {
    if (!waiting_.empty()) StartStream(core);
    return;
  }
  if (!writable_ || !FillRequest()) return;
  writable_ = false;
  stream_->Write(request_);
}

void OutputFeed::StartStream(const std::shared_ptr<Core>& core) {
  if (Elapsed() < start_at_) {
    if (timer_ == nullptr) {
      timer_ = std::make_shared<Timer>([weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->Flush();
      });
    }
    timer_->SetNoLaterThan(core->dispatcher(), start_at_);
    return;
  }
  token_ = NewClaimToken();
  opened_ = false;
  subscribed_count_ = 0;
  to_subscribe_.clear();
  for (auto& [call_id, is_subscribed] : waiting_) {
    is_subscribed = false;
    to_subscribe_.push_back(call_id);
  }
  to_unsubscribe_.clear();
  credit_items_ = settings_.window_items - std::min(settings_.window_items, taken_items_);
  credit_bytes_ = settings_.window_bytes - std::min(settings_.window_bytes, taken_bytes_);
  stream_ =
      Stream::Start(core->dispatcher(), core->stub(),
                    &v1::FunctionIo::StubInterface::PrepareAsyncStreamOutputs, weak_from_this());
}

// False when there is nothing to say.
bool OutputFeed::FillRequest() {
  request_.Clear();
  if (!opened_) {
    request_.mutable_open()->set_claim_token(token_);
    request_.mutable_open()->set_max_bytes(settings_.message_data_bytes_max);
    ToProto(settings_.lease, request_.mutable_open()->mutable_lease());
    opened_ = true;
  }
  FillSubscriptions();
  for (std::string& call_id : TakeFirst(kBatchItemsMax, &to_unsubscribe_)) {
    // It may be waited for again, and be subscribed by this very message.
    const auto waiting = waiting_.find(call_id);
    const bool is_subscribed = waiting != waiting_.end() && waiting->second;
    if (!is_subscribed) request_.add_unsubscribe_call_ids(std::move(call_id));
  }
  for (QueuedAck& ack : TakeFirst(kBatchItemsMax, &to_ack_)) {
    v1::AckItem* item = request_.add_acks();
    item->set_call_id(std::move(ack.claim.call_id));
    item->set_fence(ack.claim.fence);
    if (ack.claim.crc32c.has_value()) item->set_crc32c(*ack.claim.crc32c);
    acks_.push_back(std::move(ack.done));
  }
  for (QueuedRelease& release : TakeFirst(kBatchItemsMax, &to_release_)) {
    v1::ReleaseItem* item = request_.add_releases();
    item->set_call_id(std::move(release.claim.call_id));
    item->set_fence(release.claim.fence);
    releases_.push_back(std::move(release.done));
  }
  FillCredit();
  return request_.has_open() || request_.has_credit() || request_.subscribe_call_ids_size() > 0 ||
         request_.unsubscribe_call_ids_size() > 0 || request_.acks_size() > 0 ||
         request_.releases_size() > 0;
}

void OutputFeed::FillSubscriptions() {
  while (!to_subscribe_.empty() && subscribed_count_ < settings_.subscriptions_max &&
         request_.subscribe_call_ids_size() < static_cast<int>(kBatchItemsMax)) {
    const auto waiting = waiting_.find(to_subscribe_.front());
    if (waiting != waiting_.end() && !waiting->second) {
      waiting->second = true;
      ++subscribed_count_;
      request_.add_subscribe_call_ids(std::move(to_subscribe_.front()));
    }
    to_subscribe_.pop_front();
  }
}

bool OutputFeed::StopWaiting(const std::string& call_id) {
  const auto waiting = waiting_.find(call_id);
  if (waiting == waiting_.end()) return false;
  subscribed_count_ -= waiting->second ? 1 : 0;
  waiting_.erase(waiting);
  return true;
}

void OutputFeed::FillCredit() {
  if (credit_items_ == 0 && credit_bytes_ == 0) return;
  request_.mutable_credit()->set_item_count(credit_items_);
  request_.mutable_credit()->set_bytes(credit_bytes_);
  credit_items_ = 0;
  credit_bytes_ = 0;
}

void OutputFeed::OnWritable() {
  std::shared_ptr<Dispatcher> dispatcher;
  {
    MutexLock lock(&mutex_);
    writable_ = true;
    dispatcher = RequestFlush();
  }
  FlushWith(dispatcher);
}

Completion::Then OutputFeed::OnResponse(v1::StreamOutputsResponse* response) {
  const auto listener = listener_.lock();
  if (listener == nullptr) return nullptr;
  std::string token;
  std::vector<bool> expected(response->outputs_size());
  std::vector<bool> expected_end(response->ended_size());
  std::vector<AckDone> acks;
  std::vector<ReleaseDone> releases;
  std::shared_ptr<Dispatcher> dispatcher;
  {
    MutexLock lock(&mutex_);
    failures_ = 0;
    token = token_;
    for (int i = 0; i < response->outputs_size(); ++i) {
      expected[i] = StopWaiting(response->outputs(i).call_id());
      ++taken_items_;
      taken_bytes_ += response->outputs(i).payload().data().size();
    }
    for (int i = 0; i < response->ended_size(); ++i) {
      expected_end[i] = StopWaiting(response->ended(i).call_id());
    }
    acks = TakeFirst(response->ack_results_size(), &acks_);
    releases = TakeFirst(response->release_results_size(), &releases_);
    if (!to_subscribe_.empty()) dispatcher = RequestFlush();
  }
  FlushWith(dispatcher);
  for (int i = 0; i < response->outputs_size(); ++i) {
    v1::ClaimedOutput* output = response->mutable_outputs(i);
    if (expected[i]) {
      listener->OnOutput(token, output);
      continue;
    }
    ReturnCredit(1, output->payload().data().size());
    listener->OnStrayOutput({.call_id = output->call_id(),
                             .token = token,
                             .fence = output->fence(),
                             .crc32c = std::nullopt});
  }
  for (int i = 0; i < response->ended_size(); ++i) {
    if (!expected_end[i]) continue;
    listener->OnEnded(response->ended(i).call_id(), StatusFromProto(response->ended(i).status()));
  }
  for (size_t i = 0; i < acks.size(); ++i) {
    const v1::AckResult& result = response->ack_results(static_cast<int>(i));
    const absl::Status status = StatusFromProto(result.status());
    if (status.ok()) {
      acks[i](FromProto(result.erase_time()));
    } else {
      acks[i](status);
    }
  }
  for (size_t i = 0; i < releases.size(); ++i) {
    releases[i](StatusFromProto(response->release_results(static_cast<int>(i)).status()));
  }
  return nullptr;
}

void OutputFeed::ScheduleStream(const absl::Status& status) {
  const absl::Duration pause =
      std::max(PauseAfter(failures_, settings_.retry), RetryDelayOf(status));
  ++failures_;
  start_at_ = Elapsed() + pause;
}

Completion::Then OutputFeed::OnBroken(const absl::Status& status) {
  const absl::Status broken = absl::UnavailableError("the stream broke before the answer");
  std::vector<std::string> ended;
  std::deque<AckDone> acks;
  std::deque<ReleaseDone> releases;
  std::shared_ptr<Dispatcher> dispatcher;
  {
    MutexLock lock(&mutex_);
    stream_ = nullptr;
    writable_ = false;
    acks.swap(acks_);
    releases.swap(releases_);
    for (QueuedAck& ack : to_ack_) acks.push_back(std::move(ack.done));
    for (QueuedRelease& release : to_release_) releases.push_back(std::move(release.done));
    to_ack_.clear();
    to_release_.clear();
    if (IsFinal(status)) {
      for (const auto& [call_id, is_subscribed] : waiting_) ended.push_back(call_id);
      waiting_.clear();
    }
    ScheduleStream(status);
    if (!closed_) dispatcher = RequestFlush();
  }
  FlushWith(dispatcher);
  const auto listener = listener_.lock();
  for (AckDone& ack : acks) ack(broken);
  // What was not acknowledged is released by the stream's end.
  for (ReleaseDone& release : releases) release(absl::OkStatus());
  if (listener == nullptr) return nullptr;
  for (const std::string& call_id : ended) listener->OnEnded(call_id, status);
  return nullptr;
}

}  // namespace mayfly::client
