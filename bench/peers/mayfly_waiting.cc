#include <algorithm>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>
#include <grpcpp/support/status.h>

#include "mayfly_channels.h"
#include "mayfly_streams.h"

namespace mayfly::peers {
namespace {

// limits.batch_items_max.
constexpr uint32_t kBatchCalls = 512;
// server.streams_per_connection_max, with some to spare.
constexpr uint32_t kStreamsPerConnection = 200;
constexpr uint32_t kCredit = 1'000'000;
constexpr uint64_t kCreditBytes = uint64_t{1} << 40;

void CheckOk(absl::string_view rpc, const grpc::Status& status) {
  if (!status.ok()) Die(absl::StrCat(rpc, ": ", status.error_message()));
}
void CheckOk(absl::string_view rpc, const google::rpc::Status& status) {
  if (status.code() != 0) Die(absl::StrCat(rpc, ": ", status.message()));
}

// One session with a subscription, that writes now and then and reads all the time.
class WaitingStream final
    : public grpc::ClientBidiReactor<v1::SessionRequest, v1::SessionResponse> {
 public:
  explicit WaitingStream(Stub* client) {
    client->async()->Session(&context_, this);
    StartRead(&response_);
    StartCall();
  }

  // Blocks until it was sent.
  void Send(v1::SubscriptionRequest request) {
    *request_.add_subscriptions() = std::move(request);
    absl::MutexLock lock(&mutex_);
    writes_ = true;
    StartWrite(&request_);
    mutex_.Await(absl::Condition(
        +[](WaitingStream* self) { return !self->writes_; }, this));
    request_.Clear();
  }
  void WaitForOutput() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](WaitingStream* self) { return self->outputs_ > 0; }, this));
  }
  void Close() {
    StartWritesDone();
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&is_done_));
    CheckOk("Session", status_);
  }

  void OnWriteDone(bool ok) override {
    if (!ok) Die("Session: a stream broke");
    absl::MutexLock lock(&mutex_);
    writes_ = false;
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    {
      absl::MutexLock lock(&mutex_);
      for (const v1::SubscriptionResponse& part : response_.subscriptions()) {
        if (part.ended_size() > 0) CheckOk("a subscription", part.ended(0).status());
        CheckOk("a subscription", part.end());
        outputs_ += part.outputs_size();
      }
    }
    StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override {
    absl::MutexLock lock(&mutex_);
    status_ = status;
    is_done_ = true;
  }

 private:
  grpc::ClientContext context_;
  v1::SessionRequest request_;
  v1::SessionResponse response_;
  absl::Mutex mutex_;
  bool writes_ = false;
  bool is_done_ = false;
  int outputs_ = 0;
  grpc::Status status_;
};

std::vector<std::string> PutInputs(Stub* client, uint64_t count) {
  const PayloadPool pool(1024);
  std::vector<std::string> all;
  while (all.size() < count) {
    std::vector<std::string> ids;
    MintIds(static_cast<uint32_t>(std::min<uint64_t>(kBatchCalls, count - all.size())), &ids);
    v1::PutInputsRequest request;
    for (const std::string& id : ids) {
      v1::InputItem* const item = request.add_items();
      item->set_call_id(id);
      item->mutable_payload()->set_data(std::string(pool.Input(all.size())));
      all.push_back(id);
    }
    grpc::ClientContext context;
    v1::PutInputsResponse response;
    CheckOk("PutInputs", client->PutInputs(&context, request, &response));
    for (const v1::PutInputResult& result : response.results()) {
      CheckOk("PutInputs", result.status());
    }
  }
  return all;
}

// So that the server knows of them what it keeps in memory of a call that was looked at.
void LookAt(Stub* client, const std::vector<std::string>& ids) {
  for (size_t from = 0; from < ids.size(); from += kBatchCalls) {
    v1::DescribeCallsRequest request;
    for (size_t i = from; i < std::min<size_t>(ids.size(), from + kBatchCalls); ++i) {
      request.add_call_ids(ids[i]);
    }
    grpc::ClientContext context;
    v1::DescribeCallsResponse response;
    CheckOk("DescribeCalls", client->DescribeCalls(&context, request, &response));
  }
}

void PutOutput(Stub* worker, const std::string& id) {
  v1::PutOutputsRequest request;
  v1::OutputItem* const item = request.add_items();
  item->set_call_id(id);
  item->mutable_payload()->set_data("out");
  grpc::ClientContext context;
  v1::PutOutputsResponse response;
  CheckOk("PutOutputs", worker->PutOutputs(&context, request, &response));
  CheckOk("PutOutputs", response.results(0).status());
}

void Subscribe(WaitingStream* stream, const std::vector<std::string>& ids, uint32_t from,
               uint32_t to) {
  for (; from < to; from += kBatchCalls) {
    v1::SubscriptionRequest request;
    for (uint32_t i = from; i < std::min(to, from + kBatchCalls); ++i) {
      request.add_subscribe_call_ids(ids[i]);
    }
    stream->Send(std::move(request));
  }
}

void EndStage(absl::string_view name) {
  std::printf("%s\n", std::string(name).c_str());
  std::fflush(stdout);
  std::string line;
  if (!std::getline(std::cin, line)) Die("nobody answers");
}

}  // namespace

nlohmann::json RunMayflyWaiting(const MayflyTarget& target, const Waiting& waiting) {
  std::vector<std::vector<std::string>> ids;
  {
    const std::vector<Stubs> stubs = Connect(target.address, target.certificate_directory, 1);
    for (uint32_t i = 0; i < waiting.streams; ++i) {
      ids.push_back(PutInputs(stubs[0].client.get(), waiting.calls_per_stream));
    }
  }
  EndStage("put");
  const uint32_t connections = (waiting.streams - 1) / kStreamsPerConnection + 1;
  const std::vector<Stubs> stubs =
      Connect(target.address, target.certificate_directory, connections);
  for (const std::vector<std::string>& of_stream : ids) {
    LookAt(stubs[0].client.get(), of_stream);
  }
  EndStage("idle");
  std::vector<std::unique_ptr<WaitingStream>> streams;
  for (uint32_t i = 0; i < waiting.streams; ++i) {
    streams.push_back(std::make_unique<WaitingStream>(stubs[i % connections].client.get()));
    v1::SubscriptionRequest open;
    std::vector<std::string> token;
    MintIds(1, &token);
    open.mutable_open()->set_claim_token(token[0].substr(20));
    open.mutable_credit()->set_item_count(kCredit);
    open.mutable_credit()->set_bytes(kCreditBytes);
    streams.back()->Send(std::move(open));
  }
  uint32_t waited = 0;
  for (const uint32_t until : {1u, waiting.calls_per_stream / 2, waiting.calls_per_stream}) {
    for (uint32_t i = 0; i < waiting.streams; ++i) {
      Subscribe(streams[i].get(), ids[i], waited, until);
    }
    waited = until;
    EndStage(absl::StrCat("waiting ", until));
  }
  for (uint32_t i = 0; i < waiting.streams; ++i) {
    PutOutput(stubs[0].worker.get(), ids[i][i % waiting.calls_per_stream]);
  }
  for (const auto& stream : streams) stream->WaitForOutput();
  for (const auto& stream : streams) stream->Close();
  return {{"streams", waiting.streams}, {"connections", connections}, {"outputs", waiting.streams}};
}

}  // namespace mayfly::peers
