// Helper for a Session RPC with one subscription in a test.
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

class SubscriptionCall {
 public:
  explicit SubscriptionCall(TestClient* client) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    stream_ = client->stub()->Session(&context_);
  }
  // It was left open: broken, as far as the server can tell.
  ~SubscriptionCall() {
    if (!finished_) Break();
  }

  // A first message, with credit.
  static v1::SubscriptionRequest Opening(uint32_t items = 1'000'000,
                                         uint64_t bytes = uint64_t{1} << 40) {
    v1::SubscriptionRequest request;
    request.mutable_open()->set_claim_token(NewClaimToken());
    request.mutable_credit()->set_item_count(items);
    request.mutable_credit()->set_bytes(bytes);
    return request;
  }

  bool Write(const v1::SubscriptionRequest& request) {
    if (request.has_open()) token_ = request.open().claim_token();
    v1::SessionRequest message;
    v1::SubscriptionRequest* const numbered = message.add_subscriptions();
    *numbered = request;
    numbered->set_number(kNumber);
    return stream_->Write(message);
  }
  bool Write(const v1::AckOutputsRequest& acks) {
    v1::SessionRequest message;
    *message.add_requests()->mutable_ack_outputs() = acks;
    return stream_->Write(message);
  }
  bool End(bool keeps_claims) {
    v1::SubscriptionRequest request;
    request.mutable_end()->set_keep_claims(keeps_claims);
    return Write(request);
  }
  // Under the token of the subscription.
  v1::AckItem AckOf(const v1::ClaimedOutput& output) const {
    v1::AckItem item;
    item.set_call_id(output.call_id());
    item.set_claim_token(token_);
    item.set_fence(output.fence());
    if (output.has_payload()) item.set_crc32c(output.payload().crc32c());
    return item;
  }
  bool Ack(const v1::ClaimedOutput& output) {
    v1::AckOutputsRequest acks;
    *acks.add_items() = AckOf(output);
    return Write(acks);
  }
  bool Release(const v1::ClaimedOutput& output) {
    v1::SessionRequest message;
    v1::ReleaseItem* const item = message.add_requests()->mutable_release_outputs()->add_items();
    item->set_call_id(output.call_id());
    item->set_claim_token(token_);
    item->set_fence(output.fence());
    return stream_->Write(message);
  }
  bool Read(v1::SessionResponse* response) { return stream_->Read(response); }
  void HalfClose() { stream_->WritesDone(); }
  std::string Finish() {
    finished_ = true;
    status_ = stream_->Finish();
    return Summary(status_);
  }
  // Reads to the end.
  std::string FinishAfterRest() {
    while (ReadOne()) {
    }
    return Finish();
  }
  // Of the session's end.
  const grpc::Status& status() const { return status_; }
  void Break() {
    context_.TryCancel();
    Finish();
  }

  // The next of its kind; what else comes on the way is kept.
  v1::ClaimedOutput NextOutput() { return Next(&outputs_); }
  v1::EndedCall NextEnded() { return Next(&ended_); }
  std::string NextAckResult() {
    while (ack_results_.empty() && ReadOne()) {
    }
    return ack_results_.empty() ? "the session ended" : Summary(Next(&ack_results_).status());
  }
  // Of the subscription.
  google::rpc::Status NextEnd() { return Next(&ends_); }

 private:
  static constexpr uint64_t kNumber = 7;

  template <typename T>
  T Next(std::vector<T>* kept) {
    while (kept->empty() && ReadOne()) {
    }
    if (kept->empty()) return {};
    T next = std::move(kept->front());
    kept->erase(kept->begin());
    return next;
  }

  bool ReadOne() {
    v1::SessionResponse response;
    if (!Read(&response)) return false;
    for (const v1::SubscriptionResponse& part : response.subscriptions()) {
      outputs_.insert(outputs_.end(), part.outputs().begin(), part.outputs().end());
      ended_.insert(ended_.end(), part.ended().begin(), part.ended().end());
      if (part.has_end()) ends_.push_back(part.end());
    }
    for (const v1::NumberedResponse& answer : response.responses()) {
      const auto& results = answer.ack_outputs().results();
      ack_results_.insert(ack_results_.end(), results.begin(), results.end());
    }
    return true;
  }

  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::SessionRequest, v1::SessionResponse>> stream_;
  bool finished_ = false;
  std::string token_;
  grpc::Status status_;
  std::vector<v1::ClaimedOutput> outputs_;
  std::vector<v1::EndedCall> ended_;
  std::vector<v1::AckResult> ack_results_;
  std::vector<google::rpc::Status> ends_;
};

}  // namespace mayfly
