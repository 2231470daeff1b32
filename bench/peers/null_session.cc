#include "null_session.h"

#include "base/mutex.h"

namespace mayfly::peers {
namespace {

class NullSession final
    : public grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse> {
 public:
  explicit NullSession(NullCalls* calls) : calls_(calls) { StartRead(&request_); }

  void OnReadDone(bool ok) override {
    {
      MutexLock lock(&mutex_);
      if (ok) {
        for (const v1::NumberedRequest& request : request_.requests()) {
          Answer(request, collected_.add_responses());
        }
      } else {
        has_ended_ = true;
      }
      if (!writes_) WriteNext();
    }
    if (ok) StartRead(&request_);
  }

  void OnWriteDone(bool) override {
    MutexLock lock(&mutex_);
    WriteNext();
  }

  void OnDone() override { delete this; }

 private:
  void Answer(const v1::NumberedRequest& request, v1::NumberedResponse* response) {
    response->set_number(request.number());
    switch (request.request_case()) {
      case v1::NumberedRequest::kPutInputs:
        return calls_->Answer(request.put_inputs(), response->mutable_put_inputs());
      case v1::NumberedRequest::kGetInputs:
        return calls_->Answer(request.get_inputs(), response->mutable_get_inputs());
      case v1::NumberedRequest::kPutOutputs:
        return calls_->Answer(request.put_outputs(), response->mutable_put_outputs());
      case v1::NumberedRequest::kClaimOutputs:
        return calls_->Answer(request.claim_outputs(), response->mutable_claim_outputs());
      case v1::NumberedRequest::kAckOutputs:
        return calls_->Answer(request.ack_outputs(), response->mutable_ack_outputs());
      default:
        response->mutable_status()->set_code(grpc::StatusCode::UNIMPLEMENTED);
    }
  }

  // Writes what has collected. Ends the session instead when there is nothing and no more requests
  // will come.
  void WriteNext() REQUIRES_LOCK(mutex_) {
    writes_ = collected_.responses_size() > 0;
    if (writes_) {
      written_.Clear();
      written_.Swap(&collected_);
      StartWrite(&written_);
    } else if (has_ended_) {
      Finish(grpc::Status::OK);
    }
  }

  NullCalls* const calls_;
  v1::SessionRequest request_;
  v1::SessionResponse written_;
  Mutex mutex_;
  v1::SessionResponse collected_ GUARDED_BY(mutex_);
  bool writes_ GUARDED_BY(mutex_) = false;
  bool has_ended_ GUARDED_BY(mutex_) = false;
};

}  // namespace

grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>* NewNullSession(
    NullCalls* calls) {
  return new NullSession(calls);
}

}  // namespace mayfly::peers
