// Helper for a StreamOutputs RPC in a test.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include "e2e/test_client.h"

namespace mayfly {

class OutputStreamCall {
 public:
  explicit OutputStreamCall(TestClient* client) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    stream_ = client->stub()->StreamOutputs(&context_);
  }
  // It was left open: broken, as far as the server can tell.
  ~OutputStreamCall() {
    if (!finished_) Break();
  }

  // A first message, with credit.
  static v1::StreamOutputsRequest Opening(uint32_t items = 1'000'000,
                                          uint64_t bytes = uint64_t{1} << 40) {
    v1::StreamOutputsRequest request;
    request.mutable_open()->set_claim_token(NewClaimToken());
    request.mutable_credit()->set_item_count(items);
    request.mutable_credit()->set_bytes(bytes);
    return request;
  }

  bool Write(const v1::StreamOutputsRequest& request) { return stream_->Write(request); }
  bool Read(v1::StreamOutputsResponse* response) { return stream_->Read(response); }
  void HalfClose() { stream_->WritesDone(); }
  std::string Finish() {
    finished_ = true;
    status_ = stream_->Finish();
    return Summary(status_);
  }
  // Reads to the end.
  std::string FinishAfterRest() {
    v1::StreamOutputsResponse rest;
    while (Read(&rest)) {
    }
    return Finish();
  }
  // Of the stream's end.
  const grpc::Status& status() const { return status_; }
  const std::string& message() const {
    message_ = status_.error_message();
    return message_;
  }
  void Break() {
    context_.TryCancel();
    Finish();
  }

  // The next output; what else comes on the way is kept in `results`.
  v1::ClaimedOutput NextOutput() {
    while (outputs_.empty() && ReadOne()) {
    }
    if (outputs_.empty()) return {};
    v1::ClaimedOutput output = std::move(outputs_.front());
    outputs_.erase(outputs_.begin());
    return output;
  }
  v1::EndedCall NextEnded() {
    while (ended_.empty() && ReadOne()) {
    }
    if (ended_.empty()) return {};
    v1::EndedCall call = std::move(ended_.front());
    ended_.erase(ended_.begin());
    return call;
  }
  std::string NextAckResult() {
    while (ack_results_.empty() && ReadOne()) {
    }
    if (ack_results_.empty()) return "the stream ended";
    const std::string result = Summary(ack_results_.front().status());
    ack_results_.erase(ack_results_.begin());
    return result;
  }

 private:
  bool ReadOne() {
    v1::StreamOutputsResponse response;
    if (!Read(&response)) return false;
    outputs_.insert(outputs_.end(), response.outputs().begin(), response.outputs().end());
    ended_.insert(ended_.end(), response.ended().begin(), response.ended().end());
    ack_results_.insert(ack_results_.end(), response.ack_results().begin(),
                        response.ack_results().end());
    return true;
  }

  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::StreamOutputsRequest, v1::StreamOutputsResponse>>
      stream_;
  bool finished_ = false;
  grpc::Status status_;
  mutable std::string message_;
  std::vector<v1::ClaimedOutput> outputs_;
  std::vector<v1::EndedCall> ended_;
  std::vector<v1::AckResult> ack_results_;
};

}  // namespace mayfly
