// Helper for a Session RPC in a test.
#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <utility>

#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include "e2e/test_client.h"

namespace mayfly {

class SessionCall {
 public:
  explicit SessionCall(TestClient* client) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    stream_ = client->stub()->Session(&context_);
  }
  // It was left open: broken, as far as the server can tell.
  ~SessionCall() {
    if (!finished_) Break();
  }

  bool Write(const v1::SessionRequest& message) { return stream_->Write(message); }
  // In a message of its own.
  bool Write(const v1::NumberedRequest& request) {
    v1::SessionRequest message;
    *message.add_requests() = request;
    return Write(message);
  }
  void HalfClose() { stream_->WritesDone(); }
  // The next one of whatever message; number 0 when the stream has ended.
  v1::NumberedResponse Next() {
    while (responses_.empty()) {
      v1::SessionResponse message;
      if (!stream_->Read(&message)) return {};
      for (v1::NumberedResponse& response : *message.mutable_responses()) {
        responses_.push_back(std::move(response));
      }
    }
    v1::NumberedResponse response = std::move(responses_.front());
    responses_.pop_front();
    return response;
  }
  std::string Finish() {
    finished_ = true;
    return Summary(stream_->Finish());
  }
  // Reads to the end.
  std::string FinishAfterRest() {
    while (Next().number() != 0) {
    }
    return Finish();
  }
  std::string Break() {
    Cancel();
    return Finish();
  }
  // From any thread.
  void Cancel() { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::SessionRequest, v1::SessionResponse>> stream_;
  bool finished_ = false;
  std::deque<v1::NumberedResponse> responses_;
};

}  // namespace mayfly
