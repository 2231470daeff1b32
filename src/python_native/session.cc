#include "python_native/session.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "base/clock.h"
#include "python_native/wire.h"

namespace mayfly::python {
namespace {

constexpr char kMethod[] = "/mayfly.v1.FunctionIo/Session";
// A frame has at least one request, of any size.
constexpr int kFrameRequestsMax = 256;
constexpr size_t kFrameBytesMax = 256 << 10;
// For how long a session takes requests: it ends long before the server cuts it off for the age of
// its connection.
constexpr absl::Duration kUse = absl::Minutes(1);
// Without requests, until it ends.
constexpr absl::Duration kIdle = absl::Seconds(10);

absl::Duration SinceBoot() {
  static SystemClock clock;
  return clock.Read().boottime;
}

// Owns the bytes.
grpc::Slice SliceOf(std::string bytes) {
  auto* const owned = new std::string(std::move(bytes));
  return grpc::Slice(
      owned->data(), owned->size(), [](void* user) { delete static_cast<std::string*>(user); },
      owned);
}

// What a session's end is for its requests: an error that has them repeated, unless another session
// would end alike.
Answer AnswerOfEnd(const grpc::Status& status) {
  Answer answer;
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::UNIMPLEMENTED:
      answer.code = status.error_code();
      answer.message = status.error_message();
      answer.details = status.error_details();
      return answer;
    default:
      answer.code = grpc::StatusCode::UNAVAILABLE;
      answer.message = "the session ended before the answer";
      if (!status.error_message().empty())
        absl::StrAppend(&answer.message, ": ", status.error_message());
      return answer;
  }
}

}  // namespace

Session::Session(Owner* owner, grpc::GenericStub* stub, grpc::CompletionQueue* queue)
    : owner_(owner), opened_(SinceBoot()), last_used_(opened_) {
  stream_ = stub->PrepareCall(&context_, kMethod, queue);
  stream_->StartCall(static_cast<Event*>(&started_));
}

bool Session::Send(const std::shared_ptr<Request>& request, absl::string_view message) {
  Frame frame;
  {
    MutexLock lock(&mutex_);
    if (is_retired_) return false;
    last_used_ = SinceBoot();
    const uint64_t number = next_number_++;
    requests_.emplace(number, request);
    if (frames_.empty() || frames_.back().requests == kFrameRequestsMax ||
        frames_.back().bytes.size() + message.size() > kFrameBytesMax) {
      frames_.emplace_back();
    }
    AppendRequest(number, request->method(), message, &frames_.back().bytes);
    ++frames_.back().requests;
    if (is_writing_) return true;
    is_writing_ = true;
    frame = std::move(frames_.front());
    frames_.pop_front();
  }
  Write(std::move(frame));
  return true;
}

void Session::Write(Frame frame) {
  const grpc::Slice slice = SliceOf(std::move(frame.bytes));
  stream_->Write(grpc::ByteBuffer(&slice, 1), static_cast<Event*>(&written_));
}

void Session::Withdraw(const Request* request) {
  MutexLock lock(&mutex_);
  for (auto each = requests_.begin(); each != requests_.end(); ++each) {
    if (each->second.get() != request) continue;
    requests_.erase(each);
    return HalfCloseIfDone();
  }
}

bool Session::IsOfUse() {
  MutexLock lock(&mutex_);
  return !is_retired_ && SinceBoot() < opened_ + kUse;
}

void Session::Retire() {
  MutexLock lock(&mutex_);
  is_retired_ = true;
  last_used_ = SinceBoot();
  HalfCloseIfDone();
}

void Session::Cancel() {
  MutexLock lock(&mutex_);
  is_retired_ = true;
  context_.TryCancel();
}

void Session::CheckIdle() {
  MutexLock lock(&mutex_);
  if (!requests_.empty() || SinceBoot() < last_used_ + kIdle) return;
  // A stream that has not come about in that time, or does not end, does neither any more.
  if (is_half_closed_ || is_writing_) context_.TryCancel();
  is_retired_ = true;
  last_used_ = SinceBoot();
  HalfCloseIfDone();
}

void Session::HalfCloseIfDone() {
  if (!is_retired_ || is_half_closed_ || is_writing_ || is_over_ || !requests_.empty()) return;
  is_writing_ = true;
  is_half_closed_ = true;
  stream_->WritesDone(static_cast<Event*>(&written_));
}

void Session::OnStarted(bool ok) {
  if (!ok) {
    {
      MutexLock lock(&mutex_);
      is_writing_ = false;
    }
    return EndReading();
  }
  stream_->Read(&received_, static_cast<Event*>(&read_));
  OnWritten(true);
}

void Session::OnWritten(bool ok) {
  Frame frame;
  {
    MutexLock lock(&mutex_);
    is_writing_ = false;
    if (is_over_) return stream_->Finish(&status_, static_cast<Event*>(&finished_));
    if (!ok) return;  // the read fails too
    if (frames_.empty()) return HalfCloseIfDone();
    is_writing_ = true;
    frame = std::move(frames_.front());
    frames_.pop_front();
  }
  Write(std::move(frame));
}

void Session::OnRead(bool ok) {
  if (!ok) return EndReading();
  grpc::Slice frame;
  if (!received_.TrySingleSlice(&frame).ok()) {
    if (!received_.DumpToSingleSlice(&frame).ok()) return Cancel();
  }
  received_.Clear();
  stream_->Read(&received_, static_cast<Event*>(&read_));
  Take(frame);
}

void Session::Take(const grpc::Slice& frame) {
  const absl::string_view bytes(reinterpret_cast<const char*>(frame.begin()), frame.size());
  const bool is_well_formed = ReadAnswers(bytes, [&](const NumberedAnswer& numbered) {
    std::shared_ptr<Request> request;
    {
      MutexLock lock(&mutex_);
      const auto found = requests_.find(numbered.number);
      if (found == requests_.end()) return;  // withdrawn
      request = std::move(found->second);
      requests_.erase(found);
    }
    Answer answer;
    answer.code = numbered.code;
    if (answer.code != 0) {
      answer.details = std::string(numbered.status);
    } else if (!numbered.response.empty()) {
      const auto begin = static_cast<size_t>(numbered.response.data() - bytes.data());
      answer.response = frame.sub(begin, begin + numbered.response.size());
    }
    owner_->OnAnswer(request, std::move(answer));
  });
  if (!is_well_formed) return Cancel();
  MutexLock lock(&mutex_);
  HalfCloseIfDone();
}

void Session::EndReading() {
  MutexLock lock(&mutex_);
  is_retired_ = true;
  is_over_ = true;
  if (!is_writing_) stream_->Finish(&status_, static_cast<Event*>(&finished_));
}

void Session::OnFinished(bool) {
  std::vector<std::shared_ptr<Request>> requests;
  {
    MutexLock lock(&mutex_);
    requests.reserve(requests_.size());
    for (auto& [number, request] : requests_) requests.push_back(std::move(request));
    requests_.clear();
  }
  for (const auto& request : requests) owner_->OnAnswer(request, AnswerOfEnd(status_));
  owner_->OnEnd(this);
}

}  // namespace mayfly::python
