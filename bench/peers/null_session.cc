#include "null_session.h"

#include <memory>
#include <utility>

#include "arena_message.h"
#include "base/mutex.h"

namespace mayfly::peers {
namespace {

class NullSession final : public grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse> {
 public:
  explicit NullSession(NullCalls* calls) : calls_(calls) { StartRead(request_.get()); }

  void OnReadDone(bool ok) override {
    {
      MutexLock lock(&mutex_);
      if (ok) {
        for (const v1::NumberedRequest& request : request_->requests()) {
          Answer(request, collected_->get()->add_responses());
        }
      } else {
        has_ended_ = true;
      }
      if (!writes_) WriteNext();
    }
    if (!ok) return;
    request_.Clear();
    StartRead(request_.get());
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
    writes_ = collected_->get()->responses_size() > 0;
    if (writes_) {
      written_->Clear();
      std::swap(written_, collected_);
      StartWrite(written_->get());
    } else if (has_ended_) {
      Finish(grpc::Status::OK);
    }
  }

  using Response = ArenaMessage<v1::SessionResponse>;

  NullCalls* const calls_;
  ArenaMessage<v1::SessionRequest> request_;
  Mutex mutex_;
  std::unique_ptr<Response> written_ GUARDED_BY(mutex_) = std::make_unique<Response>();
  std::unique_ptr<Response> collected_ GUARDED_BY(mutex_) = std::make_unique<Response>();
  bool writes_ GUARDED_BY(mutex_) = false;
  bool has_ended_ GUARDED_BY(mutex_) = false;
};

}  // namespace

grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>* NewNullSession(NullCalls* calls) {
  return new NullSession(calls);
}

}  // namespace mayfly::peers
