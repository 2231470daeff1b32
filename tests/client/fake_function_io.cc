#include "client/fake_function_io.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "google/rpc/error_details.pb.h"
#include <grpcpp/server_builder.h>

#include "base/call_id.h"
#include "base/check.h"
#include "base/crc32c.h"

namespace mayfly {
namespace {

constexpr int kMessageBytesMax = 66 << 20;
constexpr int64_t kEraseSeconds = 1'700'000'000;

google::rpc::Status NotFound(Reason reason) {
  return ItemError(absl::StatusCode::kNotFound, reason, "no such call");
}

void AddChecksum(v1::Payload* payload) { payload->set_crc32c(Crc32c(AsBytes(payload->data()))); }

}  // namespace

google::rpc::Status ItemError(absl::StatusCode code, Reason reason, const std::string& message,
                              absl::Duration retry_delay) {
  google::rpc::Status status;
  status.set_code(static_cast<int>(code));
  status.set_message(message);
  google::rpc::ErrorInfo info;
  info.set_domain("mayfly");
  info.set_reason(std::string(ReasonName(reason)));
  status.add_details()->PackFrom(info);
  if (retry_delay > absl::ZeroDuration()) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(absl::ToInt64Seconds(retry_delay));
    status.add_details()->PackFrom(retry);
  }
  return status;
}

google::rpc::Status IdTimeError(absl::Duration id_ahead) {
  google::rpc::Status status =
      ItemError(absl::StatusCode::kInvalidArgument, Reason::kIdOutsideWindow, "another time");
  google::rpc::ErrorInfo info;
  Check(status.details(0).UnpackTo(&info), "it is an ErrorInfo");
  (*info.mutable_metadata())["value"] = absl::StrCat(absl::ToInt64Milliseconds(id_ahead));
  status.mutable_details(0)->PackFrom(info);
  return status;
}

grpc::Status RpcError(absl::StatusCode code, Reason reason, const std::string& message,
                      absl::Duration retry_delay) {
  return grpc::Status(static_cast<grpc::StatusCode>(code), message,
                      ItemError(code, reason, message, retry_delay).SerializeAsString());
}

grpc::Status NoAnswer() { return grpc::Status(grpc::StatusCode::CANCELLED, "no answer"); }
grpc::Status LateAnswer() { return grpc::Status(grpc::StatusCode::CANCELLED, "late answer"); }

FakeFunctionIo::FakeFunctionIo(std::shared_ptr<grpc::ServerCredentials> credentials) {
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", std::move(credentials), &port);
  builder.SetMaxReceiveMessageSize(kMessageBytesMax);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  Check(server_ != nullptr, "the fake server starts");
  target_ = absl::StrCat("127.0.0.1:", port);
}

FakeFunctionIo::~FakeFunctionIo() {
  // A call that is held in silence ends when its context is cancelled.
  server_->Shutdown(absl::ToChronoTime(absl::Now()));
}

void FakeFunctionIo::FailNext(const std::string& rpc, Fault fault) {
  MutexLock lock(&mutex_);
  faults_[rpc].push_back(std::move(fault));
}

void FakeFunctionIo::FailAlways(const std::string& rpc, Fault fault) {
  MutexLock lock(&mutex_);
  lasting_faults_[rpc] = std::move(fault);
}

void FakeFunctionIo::SetClock(absl::Duration ahead) {
  MutexLock lock(&mutex_);
  table_.clock_ahead = ahead;
}

void FakeFunctionIo::ForgetClaims() {
  MutexLock lock(&mutex_);
  for (auto& [id, call] : table_.calls) call.claim_token.clear();
  changed_.NotifyAll();
  table_.next_fence += 1'000'000;
}

void FakeFunctionIo::AddOutput(const std::string& call_id, uint32_t attempt,
                               const std::string& data) {
  MutexLock lock(&mutex_);
  v1::OutputItem output;
  output.set_attempt(attempt);
  output.set_outcome(v1::OUTCOME_SUCCESS);
  output.mutable_payload()->set_data(data);
  table_.calls[call_id].output = std::move(output);
  changed_.NotifyAll();
}

void FakeFunctionIo::ClaimElsewhere(const std::string& call_id, bool ack) {
  MutexLock lock(&mutex_);
  Call& call = table_.calls[call_id];
  call.claim_token = "another's token!";
  call.fence = table_.next_fence++;
  if (ack) call.acked_token = call.claim_token;
  changed_.NotifyAll();
}

void FakeFunctionIo::OnAck(std::function<void()> observer) {
  MutexLock lock(&mutex_);
  on_ack_ = std::move(observer);
}

std::vector<std::string> FakeFunctionIo::Events() {
  MutexLock lock(&mutex_);
  return events_;
}

void FakeFunctionIo::TellAck() {
  std::function<void()> observer;
  {
    MutexLock lock(&mutex_);
    observer = on_ack_;
  }
  if (observer) observer();
}

int FakeFunctionIo::CountOf(const std::string& rpc) {
  MutexLock lock(&mutex_);
  return CountEvents(rpc);
}

int FakeFunctionIo::CountEvents(const std::string& rpc) {
  return static_cast<int>(std::count(events_.begin(), events_.end(), rpc) +
                          std::count(session_events_.begin(), session_events_.end(), rpc));
}

std::optional<std::string> FakeFunctionIo::InputOf(const std::string& call_id) {
  MutexLock lock(&mutex_);
  const Call& call = table_.calls[call_id];
  return call.input.has_value() ? std::optional(call.input->data()) : std::nullopt;
}

bool FakeFunctionIo::WaitFor(const std::string& rpc, int count) {
  MutexLock lock(&mutex_);
  const absl::Time until = absl::Now() + absl::Seconds(60);
  while (CountEvents(rpc) < count) {
    if (absl::Now() >= until) return false;
    changed_.WaitFor(&mutex_, until - absl::Now());
  }
  return true;
}

bool FakeFunctionIo::WaitForPeer(const std::string& common_name) {
  MutexLock lock(&mutex_);
  const absl::Time until = absl::Now() + absl::Seconds(60);
  while (!peers_.contains(common_name)) {
    if (absl::Now() >= until) return false;
    changed_.WaitFor(&mutex_, until - absl::Now());
  }
  return true;
}

std::optional<Fault> FakeFunctionIo::TakeFault(const std::string& rpc) {
  std::deque<Fault>& queue = faults_[rpc];
  if (!queue.empty()) {
    Fault fault = std::move(queue.front());
    queue.pop_front();
    return fault;
  }
  const auto lasting = lasting_faults_.find(rpc);
  if (lasting == lasting_faults_.end()) return std::nullopt;
  return lasting->second;
}

google::rpc::Status FakeFunctionIo::Table::CheckLive(const std::string& call_id) const {
  const auto found = calls.find(call_id);
  if (found == calls.end()) return NotFound(Reason::kCallUnknown);
  if (found->second.deleted) return NotFound(Reason::kCallDeleted);
  if (!found->second.acked_token.empty()) return NotFound(Reason::kOutputConsumed);
  return {};
}

google::rpc::Status FakeFunctionIo::Table::CheckClaim(const std::string& call_id,
                                                      const std::string& token,
                                                      uint64_t fence) const {
  google::rpc::Status live = CheckLive(call_id);
  if (live.code() != 0) return live;
  const Call& call = calls.at(call_id);
  if (call.claim_token == token && call.fence == fence) return {};
  return ItemError(absl::StatusCode::kFailedPrecondition, Reason::kClaimLost, "claim lost");
}

google::rpc::Status FakeFunctionIo::Table::CheckIdTime(const std::string& call_id) const {
  if (!clock_ahead.has_value()) return {};
  const absl::Duration id_ahead = CallId::Parse(call_id)->time() - (absl::Now() + *clock_ahead);
  if (absl::AbsDuration(id_ahead) <= absl::Minutes(5)) return {};
  return IdTimeError(id_ahead);
}

void FakeFunctionIo::Table::PutInput(const v1::InputItem& item, v1::PutInputResult* result) {
  result->set_call_id(item.call_id());
  *result->mutable_status() = CheckIdTime(item.call_id());
  if (result->status().code() != 0) return;
  Call& call = calls[item.call_id()];
  if (call.input.has_value() && call.input->data() != item.payload().data()) {
    *result->mutable_status() =
        ItemError(absl::StatusCode::kAlreadyExists, Reason::kCallConflict, "other input");
    return;
  }
  call.input = item.payload();
  result->mutable_deadline_time()->set_seconds(kDeadlineSeconds);
}

void FakeFunctionIo::Table::PutOutput(const v1::OutputItem& item, v1::PutOutputResult* result) {
  result->set_call_id(item.call_id());
  *result->mutable_status() = CheckLive(item.call_id());
  if (result->status().code() != 0) return;
  calls[item.call_id()].output = item;
  result->mutable_deadline_time()->set_seconds(kDeadlineSeconds);
}

void FakeFunctionIo::Table::Ack(const v1::AckItem& item, const std::string& token,
                                v1::AckResult* result) {
  result->set_call_id(item.call_id());
  result->mutable_erase_time()->set_seconds(kEraseSeconds);
  if (calls[item.call_id()].acked_token == token) return;
  *result->mutable_status() = CheckClaim(item.call_id(), token, item.fence());
  if (result->status().code() != 0) return;
  Call& call = calls[item.call_id()];
  if (item.has_crc32c() && item.crc32c() != Crc32c(AsBytes(call.output->payload().data()))) {
    *result->mutable_status() = ItemError(absl::StatusCode::kInvalidArgument,
                                          Reason::kChecksumMismatch, "another checksum");
    return;
  }
  call.acked_token = token;
}

void FakeFunctionIo::Table::Release(const v1::ReleaseItem& item, const std::string& token,
                                    v1::ReleaseResult* result) {
  result->set_call_id(item.call_id());
  *result->mutable_status() = CheckClaim(item.call_id(), token, item.fence());
  if (result->status().code() == 0) calls[item.call_id()].claim_token.clear();
}

void FakeFunctionIo::Table::Claim(const std::string& call_id, const std::string& token,
                                  uint64_t max_bytes, v1::ClaimedOutput* output) {
  Call& call = calls[call_id];
  if (call.claim_token.empty()) call.fence = next_fence++;
  call.claim_token = token;
  output->set_call_id(call_id);
  output->set_attempt(call.output->attempt());
  output->set_outcome(call.output->outcome());
  output->set_size_bytes(call.output->payload().data().size());
  output->set_fence(call.fence);
  output->mutable_lease_end_time()->set_seconds(kDeadlineSeconds);
  if (output->size_bytes() > max_bytes) return;
  *output->mutable_payload() = call.output->payload();
  AddChecksum(output->mutable_payload());
}

grpc::Status FakeFunctionIo::PutInputs(grpc::ServerContext* context,
                                       const v1::PutInputsRequest* request,
                                       v1::PutInputsResponse* response) {
  return Serve("PutInputs", context, *request, response, [&](Table* table) {
    for (const v1::InputItem& item : request->items())
      table->PutInput(item, response->add_results());
  });
}

grpc::Status FakeFunctionIo::GetInputs(grpc::ServerContext* context,
                                       const v1::GetInputsRequest* request,
                                       v1::GetInputsResponse* response) {
  return Serve("GetInputs", context, *request, response, [&](Table* table) {
    uint64_t bytes = 0;
    for (const std::string& call_id : request->call_ids()) {
      v1::GetInputResult* result = response->add_results();
      result->set_call_id(call_id);
      *result->mutable_status() = table->CheckLive(call_id);
      if (result->status().code() != 0) continue;
      const v1::Payload& input = *table->calls[call_id].input;
      result->set_size_bytes(input.data().size());
      result->mutable_deadline_time()->set_seconds(kDeadlineSeconds);
      if (bytes + input.data().size() > request->max_bytes()) continue;
      bytes += input.data().size();
      *result->mutable_payload() = input;
      AddChecksum(result->mutable_payload());
    }
  });
}

grpc::Status FakeFunctionIo::PutOutputs(grpc::ServerContext* context,
                                        const v1::PutOutputsRequest* request,
                                        v1::PutOutputsResponse* response) {
  return Serve("PutOutputs", context, *request, response, [&](Table* table) {
    for (const v1::OutputItem& item : request->items()) {
      table->PutOutput(item, response->add_results());
    }
  });
}

grpc::Status FakeFunctionIo::ClaimOutputs(grpc::ServerContext* context,
                                          const v1::ClaimOutputsRequest* request,
                                          v1::ClaimOutputsResponse* response) {
  return Serve("ClaimOutputs", context, *request, response, [&](Table* table) {
    for (const std::string& call_id : request->call_ids()) {
      google::rpc::Status live = table->CheckLive(call_id);
      if (live.code() != 0) {
        v1::EndedCall* ended = response->add_ended();
        ended->set_call_id(call_id);
        *ended->mutable_status() = std::move(live);
        continue;
      }
      Call& call = table->calls[call_id];
      const bool free = call.claim_token.empty() || call.claim_token == request->claim_token();
      if (!call.output.has_value() || !free) {
        response->set_pending_count(response->pending_count() + 1);
        continue;
      }
      table->Claim(call_id, request->claim_token(), request->max_bytes(), response->add_outputs());
    }
  });
}

grpc::Status FakeFunctionIo::AckOutputs(grpc::ServerContext* context,
                                        const v1::AckOutputsRequest* request,
                                        v1::AckOutputsResponse* response) {
  TellAck();
  return Serve("AckOutputs", context, *request, response, [&](Table* table) {
    for (const v1::AckItem& item : request->items()) {
      events_.push_back("Ack");
      table->Ack(item, item.claim_token(), response->add_results());
    }
  });
}

grpc::Status FakeFunctionIo::ReleaseOutputs(grpc::ServerContext* context,
                                            const v1::ReleaseOutputsRequest* request,
                                            v1::ReleaseOutputsResponse* response) {
  return Serve("ReleaseOutputs", context, *request, response, [&](Table* table) {
    for (const v1::ReleaseItem& item : request->items()) {
      events_.push_back("Release");
      table->Release(item, item.claim_token(), response->add_results());
    }
  });
}

grpc::Status FakeFunctionIo::RenewClaims(grpc::ServerContext* context,
                                         const v1::RenewClaimsRequest* request,
                                         v1::RenewClaimsResponse* response) {
  return Serve("RenewClaims", context, *request, response, [&](Table* table) {
    for (const v1::RenewItem& item : request->items()) {
      v1::RenewResult* result = response->add_results();
      result->set_call_id(item.call_id());
      *result->mutable_status() =
          table->CheckClaim(item.call_id(), item.claim_token(), item.fence());
      result->mutable_lease_end_time()->set_seconds(kDeadlineSeconds);
    }
  });
}

grpc::Status FakeFunctionIo::DescribeCalls(grpc::ServerContext* context,
                                           const v1::DescribeCallsRequest* request,
                                           v1::DescribeCallsResponse* response) {
  return Serve("DescribeCalls", context, *request, response, [&](Table* table) {
    for (const std::string& call_id : request->call_ids()) {
      v1::CallDescription* result = response->add_results();
      result->set_call_id(call_id);
      const auto found = table->calls.find(call_id);
      if (found == table->calls.end()) {
        result->set_state(v1::CALL_STATE_UNKNOWN);
        continue;
      }
      const Call& call = found->second;
      result->set_state(call.deleted                ? v1::CALL_STATE_DELETED
                        : !call.acked_token.empty() ? v1::CALL_STATE_CONSUMED
                        : !call.claim_token.empty() ? v1::CALL_STATE_CLAIMED
                        : call.output.has_value()   ? v1::CALL_STATE_READY
                                                    : v1::CALL_STATE_PENDING);
      if (!call.input.has_value()) continue;
      result->mutable_input()->set_size_bytes(call.input->data().size());
      result->mutable_input()->mutable_deadline_time()->set_seconds(kDeadlineSeconds);
    }
  });
}

grpc::Status FakeFunctionIo::GetServerInfo(grpc::ServerContext* context,
                                           const v1::GetServerInfoRequest* request,
                                           v1::GetServerInfoResponse* response) {
  return Serve("GetServerInfo", context, *request, response, [&](Table*) {
    response->set_version("1.2.3");
    response->mutable_server_time()->set_seconds(kDeadlineSeconds);
    response->set_tenant("acme");
    response->set_role("client");
    response->mutable_limits()->mutable_id_window()->set_seconds(300);
    response->mutable_limits()->set_claims_max(10'000);
  });
}

grpc::Status FakeFunctionIo::DeleteCalls(grpc::ServerContext* context,
                                         const v1::DeleteCallsRequest* request,
                                         v1::DeleteCallsResponse* response) {
  return Serve("DeleteCalls", context, *request, response, [&](Table* table) {
    for (const std::string& call_id : request->call_ids()) {
      v1::DeleteResult* result = response->add_results();
      result->set_call_id(call_id);
      *result->mutable_status() = table->CheckLive(call_id);
      if (result->status().code() != 0) continue;
      table->calls[call_id].deleted = true;
      result->mutable_erase_time()->set_seconds(kEraseSeconds);
    }
  });
}

}  // namespace mayfly
