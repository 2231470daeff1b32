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
      listener_(std::move(listener)),
      queue_(settings),
      start_deadline_(std::move(deadlines)) {}

OutputFeed::~OutputFeed() {
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
    for (const std::string& call_id : call_ids) queue_.Subscribe(call_id);
    dispatcher = RequestFlush();
  }
  FlushWith(dispatcher);
}

void OutputFeed::Unsubscribe(const std::vector<std::string>& call_ids) {
  std::shared_ptr<Dispatcher> dispatcher;
  {
    MutexLock lock(&mutex_);
    for (const std::string& call_id : call_ids) queue_.Unsubscribe(call_id);
    dispatcher = RequestFlush();
  }
  FlushWith(dispatcher);
}

bool OutputFeed::Ack(const Claim& claim, AckDone* done) {
  std::shared_ptr<Dispatcher> dispatcher;
  {
    MutexLock lock(&mutex_);
    if (!IsOfStream(claim)) return false;
    queue_.Ack(claim, std::move(*done));
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
    queue_.Release(claim, std::move(*done));
    dispatcher = RequestFlush();
  }
  FlushWith(dispatcher);
  return true;
}

void OutputFeed::ReturnCredit(uint32_t items, uint64_t bytes) {
  std::shared_ptr<Dispatcher> dispatcher;
  {
    MutexLock lock(&mutex_);
    // Less credit than this leaves with the next message that is written anyway.
    if (!queue_.ReturnCredit(items, bytes)) return;
    dispatcher = RequestFlush();
  }
  FlushWith(dispatcher);
}

void OutputFeed::Close() {
  MutexLock lock(&mutex_);
  closed_ = true;
  queue_.StopWaiting();
  start_deadline_.Clear();
  if (stream_ != nullptr) stream_->Cancel();
}

bool OutputFeed::IsOfStream(const Claim& claim) {
  return stream_ != nullptr && !closed_ && queue_.IsOfStream(claim);
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
  std::shared_ptr<Stream> stream;
  v1::StreamOutputsRequest request;
  {
    MutexLock lock(&mutex_);
    flush_requested_ = false;
    core = core_.lock();
    if (closed_ || core == nullptr) return;
    if (stream_ == nullptr) {
      if (queue_.IsWaiting()) StartStream(core);
      return;
    }
    if (!writable_ || !queue_.FillRequest(&request)) return;
    writable_ = false;
    stream = stream_;
  }
  stream->Write(request);
}

void OutputFeed::StartStream(const std::shared_ptr<Core>& core) {
  if (Elapsed() < start_at_) return start_deadline_.Set(start_at_, weak_from_this());
  queue_.StartStream(NewClaimToken());
  stub_ = core->connections()->NextStub();
  stream_ =
      Stream::Start(core->dispatcher(), stub_.get(),
                    &v1::FunctionIo::StubInterface::PrepareAsyncStreamOutputs, weak_from_this());
}

void OutputFeed::OnDeadline() { Flush(); }

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
  if (listener_.expired()) return nullptr;
  FeedQueue::Answered answered;
  std::shared_ptr<Dispatcher> dispatcher;
  std::shared_ptr<Core> recovered;
  bool is_closed = false;
  {
    MutexLock lock(&mutex_);
    is_closed = closed_;
    if (std::exchange(failures_, 0) > 0) recovered = core_.lock();
    answered = queue_.TakeAnswered(*response);
    if (queue_.HasMoreToSubscribe()) dispatcher = RequestFlush();
  }
  FlushWith(dispatcher);
  if (recovered != nullptr) recovered->connections()->OnAnswer();
  recovered = nullptr;
  if (!is_closed) Bring(answered, response);
  for (size_t i = 0; i < answered.acks.size(); ++i) {
    const v1::AckResult& result = response->ack_results(static_cast<int>(i));
    const absl::Status status = StatusFromProto(result.status());
    if (status.ok()) {
      answered.acks[i](FromProto(result.erase_time()));
    } else {
      answered.acks[i](status);
    }
  }
  for (size_t i = 0; i < answered.releases.size(); ++i) {
    answered.releases[i](StatusFromProto(response->release_results(static_cast<int>(i)).status()));
  }
  return nullptr;
}

void OutputFeed::Bring(const FeedQueue::Answered& answered, v1::StreamOutputsResponse* response) {
  const auto listener = listener_.lock();
  if (listener == nullptr) return;
  for (int i = 0; i < response->outputs_size(); ++i) {
    v1::ClaimedOutput* output = response->mutable_outputs(i);
    if (answered.expected_outputs[i]) {
      listener->OnOutput(answered.token, output);
      continue;
    }
    ReturnCredit(1, output->payload().data().size());
    listener->OnStrayOutput({.call_id = output->call_id(),
                             .token = answered.token,
                             .fence = output->fence(),
                             .crc32c = std::nullopt});
  }
  for (int i = 0; i < response->ended_size(); ++i) {
    if (!answered.expected_ends[i]) continue;
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

Completion::Then OutputFeed::OnBroken(const absl::Status& grpc_status) {
  const absl::Status status = Explain(grpc_status);
  const absl::Status broken = absl::UnavailableError("the stream broke before the answer");
  FeedQueue::Answered unanswered;
  std::vector<std::string> ended;
  std::shared_ptr<Dispatcher> dispatcher;
  {
    MutexLock lock(&mutex_);
    stream_ = nullptr;
    writable_ = false;
    unanswered = queue_.EndStream();
    if (IsFinal(status)) ended = queue_.StopWaiting();
    start_at_ = Elapsed() + std::max(PauseAfter(failures_++, retry_), RetryDelayOf(status));
    if (!closed_) dispatcher = RequestFlush();
  }
  FlushWith(dispatcher);
  for (AckDone& ack : unanswered.acks) ack(broken);
  // The end of the stream has released the outputs that were not acknowledged.
  for (ReleaseDone& release : unanswered.releases) release(absl::OkStatus());
  const auto listener = listener_.lock();
  if (listener == nullptr) return nullptr;
  for (const std::string& call_id : ended) listener->OnEnded(call_id, status);
  return nullptr;
}

}  // namespace mayfly::client
