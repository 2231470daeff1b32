#include "e2e/test_client.h"

#include <array>
#include <chrono>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <google/rpc/error_details.pb.h>

#include "base/call_id.h"
#include "base/check.h"
#include "crypto/random.h"

namespace mayfly {
namespace {

constexpr std::chrono::seconds kRpcTimeout{30};

template <typename Response>
std::string FirstResult(const grpc::Status& status, const Response& response) {
  if (!status.ok()) return Summary(status);
  Check(response.results_size() == 1, "one item, one result");
  return Summary(response.results(0).status());
}

template <typename Request>
Request ClaimItem(const std::string& call_id, const std::string& token, uint64_t fence) {
  Request request;
  auto* item = request.add_items();
  item->set_call_id(call_id);
  item->set_claim_token(token);
  item->set_fence(fence);
  return request;
}

}  // namespace

std::string Summary(const google::rpc::Status& status) {
  if (status.code() == 0) return "OK";
  const std::string code = absl::StatusCodeToString(static_cast<absl::StatusCode>(status.code()));
  for (const auto& detail : status.details()) {
    google::rpc::ErrorInfo info;
    if (detail.UnpackTo(&info)) return absl::StrCat(code, " ", info.reason());
  }
  return code;
}

std::string Summary(const grpc::Status& status) {
  google::rpc::Status wire;
  wire.set_code(status.error_code());
  if (!status.error_details().empty()) wire.ParseFromString(status.error_details());
  Check(wire.code() == status.error_code(), "both codes are the same");
  return Summary(wire);
}

std::string NewCallId() {
  std::array<uint8_t, 10> random;
  FillRandom(absl::MakeSpan(random));
  return CallId::Mint(absl::Now(), random).ToString();
}

std::string NewClaimToken() {
  std::string token(16, '\0');
  FillRandom(MutableByteSpan(reinterpret_cast<uint8_t*>(token.data()), token.size()));
  return token;
}

TestClient::TestClient(const std::shared_ptr<grpc::Channel>& channel)
    : stub_(v1::FunctionIo::NewStub(channel)) {}

void TestClient::Prepare(grpc::ClientContext* context) {
  context->set_wait_for_ready(true);
  context->set_deadline(std::chrono::system_clock::now() + kRpcTimeout);
}

std::string TestClient::PutInput(const std::string& call_id, const std::string& data) {
  v1::PutInputsRequest request;
  v1::InputItem* item = request.add_items();
  item->set_call_id(call_id);
  item->mutable_payload()->set_data(data);
  v1::PutInputsResponse response;
  const grpc::Status status = Call(&v1::FunctionIo::Stub::PutInputs, request, &response);
  return FirstResult(status, response);
}

std::string TestClient::PutOutput(const std::string& call_id, const std::string& data) {
  v1::PutOutputsRequest request;
  v1::OutputItem* item = request.add_items();
  item->set_call_id(call_id);
  item->mutable_payload()->set_data(data);
  v1::PutOutputsResponse response;
  const grpc::Status status = Call(&v1::FunctionIo::Stub::PutOutputs, request, &response);
  return FirstResult(status, response);
}

std::string TestClient::GetInput(const std::string& call_id, std::string* data) {
  v1::GetInputsRequest request;
  request.add_call_ids(call_id);
  request.set_max_bytes(64 << 20);
  v1::GetInputsResponse response;
  const grpc::Status status = Call(&v1::FunctionIo::Stub::GetInputs, request, &response);
  if (response.results_size() == 1) *data = response.results(0).payload().data();
  return FirstResult(status, response);
}

std::string TestClient::Claim(const std::string& call_id, const std::string& token,
                              v1::ClaimedOutput* output, std::string* ended, int wait_s) {
  v1::ClaimOutputsRequest request;
  request.add_call_ids(call_id);
  request.set_claim_token(token);
  request.mutable_wait()->set_seconds(wait_s);
  v1::ClaimOutputsResponse response;
  const grpc::Status status = Call(&v1::FunctionIo::Stub::ClaimOutputs, request, &response);
  if (response.outputs_size() == 1) *output = response.outputs(0);
  if (response.ended_size() == 1) *ended = Summary(response.ended(0).status());
  return Summary(status);
}

std::string TestClient::Ack(const std::string& call_id, const std::string& token, uint64_t fence) {
  const auto request = ClaimItem<v1::AckOutputsRequest>(call_id, token, fence);
  v1::AckOutputsResponse response;
  const grpc::Status status = Call(&v1::FunctionIo::Stub::AckOutputs, request, &response);
  return FirstResult(status, response);
}

std::string TestClient::Release(const std::string& call_id, const std::string& token,
                                uint64_t fence) {
  const auto request = ClaimItem<v1::ReleaseOutputsRequest>(call_id, token, fence);
  v1::ReleaseOutputsResponse response;
  const grpc::Status status = Call(&v1::FunctionIo::Stub::ReleaseOutputs, request, &response);
  return FirstResult(status, response);
}

std::string TestClient::Delete(const std::string& call_id) {
  v1::DeleteCallsRequest request;
  request.add_call_ids(call_id);
  v1::DeleteCallsResponse response;
  const grpc::Status status = Call(&v1::FunctionIo::Stub::DeleteCalls, request, &response);
  return FirstResult(status, response);
}

v1::CallDescription TestClient::Describe(const std::string& call_id) {
  v1::DescribeCallsRequest request;
  request.add_call_ids(call_id);
  v1::DescribeCallsResponse response;
  const grpc::Status status = Call(&v1::FunctionIo::Stub::DescribeCalls, request, &response);
  Check(status.ok() && response.results_size() == 1, "a call can be described");
  return response.results(0);
}

}  // namespace mayfly
