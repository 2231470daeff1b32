#include "mayfly_session.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "workload.h"

namespace mayfly::peers {
namespace {

void Move(v1::PutInputsRequest* from, v1::NumberedRequest* to) {
  to->mutable_put_inputs()->Swap(from);
}
void Move(v1::GetInputsRequest* from, v1::NumberedRequest* to) {
  to->mutable_get_inputs()->Swap(from);
}
void Move(v1::PutOutputsRequest* from, v1::NumberedRequest* to) {
  to->mutable_put_outputs()->Swap(from);
}
void Move(v1::ClaimOutputsRequest* from, v1::NumberedRequest* to) {
  to->mutable_claim_outputs()->Swap(from);
}
void Move(v1::AckOutputsRequest* from, v1::NumberedRequest* to) {
  to->mutable_ack_outputs()->Swap(from);
}

// The other kinds of a response stay empty, and the caller misses its results.
void Move(v1::NumberedResponse* from, v1::PutInputsResponse* to) {
  to->Swap(from->mutable_put_inputs());
}
void Move(v1::NumberedResponse* from, v1::GetInputsResponse* to) {
  to->Swap(from->mutable_get_inputs());
}
void Move(v1::NumberedResponse* from, v1::PutOutputsResponse* to) {
  to->Swap(from->mutable_put_outputs());
}
void Move(v1::NumberedResponse* from, v1::ClaimOutputsResponse* to) {
  to->Swap(from->mutable_claim_outputs());
}
void Move(v1::NumberedResponse* from, v1::AckOutputsResponse* to) {
  to->Swap(from->mutable_ack_outputs());
}

}  // namespace

MayflySession::MayflySession(Stub* stub) {
  stub->async()->Session(&context_, this);
  // Outside of their callbacks, writes begin while the RPC may have ended.
  AddHold();
  StartRead(&response_);
  StartCall();
}

MayflySession::~MayflySession() {
  {
    MutexLock lock(&mutex_);
    closes_ = true;
    if (!writes_) WriteNext();
  }
  RemoveHold();
  ended_.WaitForNotification();
}

template <typename Request, typename Response>
void MayflySession::Send(Request* request, Response* response,
                         std::function<void(grpc::Status)> done) {
  const size_t bytes = request->ByteSizeLong();
  MutexLock lock(&mutex_);
  if (free_numbers_.empty()) {
    free_numbers_.push_back(waiting_.size());
    waiting_.emplace_back();
  }
  const uint64_t number = free_numbers_.back();
  free_numbers_.pop_back();
  waiting_[number] = {.response = response,
                      .move = [](v1::NumberedResponse* from, void* to) {
                        Move(from, static_cast<Response*>(to));
                      },
                      .done = std::move(done)};
  v1::NumberedRequest* const added = AddRequest(bytes);
  added->set_number(number);
  Move(request, added);
  if (!writes_) WriteNext();
}

v1::NumberedRequest* MayflySession::AddRequest(size_t bytes) {
  if (collected_.empty() || collected_.back().request.requests_size() == kRequestsMax ||
      collected_.back().bytes + bytes > kBytesMax) {
    collected_.emplace_back();
  }
  collected_.back().bytes += bytes;
  return collected_.back().request.add_requests();
}

void MayflySession::WriteNext() {
  writes_ = !collected_.empty();
  if (!writes_) {
    if (closes_) StartWritesDone();
    return;
  }
  written_ = std::move(collected_.front().request);
  collected_.pop_front();
  StartWrite(&written_);
}

void MayflySession::OnWriteDone(bool ok) {
  if (!ok) Die("Session: the stream broke");
  MutexLock lock(&mutex_);
  WriteNext();
}

void MayflySession::OnReadDone(bool ok) {
  if (!ok) return;
  for (v1::NumberedResponse& response : *response_.mutable_responses()) {
    const Waiting waiting = TakeWaiting(response.number());
    const google::rpc::Status& status = response.status();
    if (status.code() == 0) waiting.move(&response, waiting.response);
    waiting.done({static_cast<grpc::StatusCode>(status.code()), status.message()});
  }
  StartRead(&response_);
}

MayflySession::Waiting MayflySession::TakeWaiting(uint64_t number) {
  MutexLock lock(&mutex_);
  if (number >= waiting_.size() || waiting_[number].done == nullptr) {
    Die("Session: a response has the number of no request");
  }
  free_numbers_.push_back(number);
  return std::exchange(waiting_[number], {});
}

void MayflySession::OnDone(const grpc::Status& status) {
  if (!status.ok()) Die(absl::StrCat("Session: ", status.error_message()));
  ended_.Notify();
}

template void MayflySession::Send(v1::PutInputsRequest*, v1::PutInputsResponse*,
                                  std::function<void(grpc::Status)>);
template void MayflySession::Send(v1::GetInputsRequest*, v1::GetInputsResponse*,
                                  std::function<void(grpc::Status)>);
template void MayflySession::Send(v1::PutOutputsRequest*, v1::PutOutputsResponse*,
                                  std::function<void(grpc::Status)>);
template void MayflySession::Send(v1::ClaimOutputsRequest*, v1::ClaimOutputsResponse*,
                                  std::function<void(grpc::Status)>);
template void MayflySession::Send(v1::AckOutputsRequest*, v1::AckOutputsResponse*,
                                  std::function<void(grpc::Status)>);

}  // namespace mayfly::peers
