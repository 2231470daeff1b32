#include "mayfly_session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "workload.h"

namespace mayfly::peers {
namespace {

// The sessions to which the callers of the message that this thread reads have sent, or null.
thread_local std::vector<MayflySession*>* sent_to = nullptr;

void Copy(const v1::PutInputsRequest& from, v1::NumberedRequest* to) {
  to->mutable_put_inputs()->CopyFrom(from);
}
void Copy(const v1::GetInputsRequest& from, v1::NumberedRequest* to) {
  to->mutable_get_inputs()->CopyFrom(from);
}
void Copy(const v1::PutOutputsRequest& from, v1::NumberedRequest* to) {
  to->mutable_put_outputs()->CopyFrom(from);
}
void Copy(const v1::ClaimOutputsRequest& from, v1::NumberedRequest* to) {
  to->mutable_claim_outputs()->CopyFrom(from);
}
void Copy(const v1::AckOutputsRequest& from, v1::NumberedRequest* to) {
  to->mutable_ack_outputs()->CopyFrom(from);
}

}  // namespace

MayflySession::MayflySession(Stub* stub) {
  stub->async()->Session(&context_, this);
  // Callers write outside of gRPC's callbacks too.
  AddHold();
  StartRead(response_.get());
  StartCall();
}

void MayflySession::Close() {
  {
    MutexLock lock(&mutex_);
    closes_ = true;
    if (!writes_) WriteNext();
  }
  RemoveHold();
  ended_.WaitForNotification();
}

template <typename Request>
void MayflySession::Send(const Request& request, Done done) {
  const size_t bytes = request.ByteSizeLong();
  MutexLock lock(&mutex_);
  v1::NumberedRequest* const added = AddRequest(bytes);
  added->set_number(AddWaiting(std::move(done)));
  Copy(request, added);
  if (writes_) return;
  if (sent_to == nullptr) return WriteNext();
  if (std::find(sent_to->begin(), sent_to->end(), this) == sent_to->end()) sent_to->push_back(this);
}

uint64_t MayflySession::AddWaiting(Done done) {
  if (free_numbers_.empty()) {
    waiting_.push_back(std::move(done));
    return waiting_.size() - 1;
  }
  const uint64_t number = free_numbers_.back();
  free_numbers_.pop_back();
  waiting_[number] = std::move(done);
  return number;
}

MayflySession::Done MayflySession::TakeWaiting(uint64_t number) {
  MutexLock lock(&mutex_);
  if (number >= waiting_.size() || waiting_[number] == nullptr) {
    Die("Session: a response has the number of no request");
  }
  free_numbers_.push_back(number);
  return std::exchange(waiting_[number], nullptr);
}

v1::NumberedRequest* MayflySession::AddRequest(size_t bytes) {
  if (collected_.empty() || collected_.back()->request->requests_size() == kRequestsMax ||
      collected_.back()->bytes + bytes > kBytesMax) {
    collected_.push_back(spare_ != nullptr ? std::move(spare_) : std::make_unique<Message>());
  }
  collected_.back()->bytes += bytes;
  return collected_.back()->request->add_requests();
}

void MayflySession::Flush() {
  MutexLock lock(&mutex_);
  if (!writes_ && !collected_.empty()) WriteNext();
}

void MayflySession::WriteNext() {
  writes_ = !collected_.empty();
  if (!writes_) {
    if (closes_) StartWritesDone();
    return;
  }
  spare_ = std::exchange(written_, std::move(collected_.front()));
  collected_.pop_front();
  if (spare_ != nullptr) {
    spare_->request.Clear();
    spare_->bytes = 0;
  }
  StartWrite(written_->request.get());
}

void MayflySession::OnWriteDone(bool ok) {
  if (!ok) Die("Session: the stream broke");
  MutexLock lock(&mutex_);
  WriteNext();
}

void MayflySession::OnReadDone(bool ok) {
  if (!ok) return;
  std::vector<MayflySession*> sessions;
  sent_to = &sessions;
  for (const v1::NumberedResponse& response : response_->responses()) {
    TakeWaiting(response.number())(response);
  }
  sent_to = nullptr;
  for (MayflySession* const session : sessions) session->Flush();
  response_.Clear();
  StartRead(response_.get());
}

void MayflySession::OnDone(const grpc::Status& status) {
  if (!status.ok()) Die(absl::StrCat("Session: ", status.error_message()));
  ended_.Notify();
}

template void MayflySession::Send(const v1::PutInputsRequest&, Done);
template void MayflySession::Send(const v1::GetInputsRequest&, Done);
template void MayflySession::Send(const v1::PutOutputsRequest&, Done);
template void MayflySession::Send(const v1::ClaimOutputsRequest&, Done);
template void MayflySession::Send(const v1::AckOutputsRequest&, Done);

}  // namespace mayfly::peers
