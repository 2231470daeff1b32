#include "rpc/function_io_service.h"

#include <string>
#include <utility>
#include <vector>

#include "rpc/answer.h"
#include "rpc/status.h"
#include "rpc/validation.h"

namespace mayfly {
namespace {

// Longer ones are no call ids, and not worth sending back.
constexpr size_t kEchoBytesMax = 64;

const std::string& CallIdText(const std::string& call_id) { return call_id; }
template <typename Item>
const std::string& CallIdText(const Item& item) {
  return item.call_id();
}

// The valid items of a request, and the result that each will get.
template <typename Value, typename Result>
struct ValidItems {
  std::vector<Value> values;
  std::vector<Result*> results;
};

// Makes a result for each item. `read` turns an item into what the store takes; what it refuses
// gets its error at once.
template <typename Value, typename Result, typename Items, typename Read>
ValidItems<Value, Result> ReadItems(const Items& items, absl::string_view list,
                                    google::protobuf::RepeatedPtrField<Result>* results, Log* log,
                                    Read read) {
  ValidItems<Value, Result> valid;
  valid.values.reserve(items.size());
  valid.results.reserve(items.size());
  results->Reserve(items.size());
  for (int i = 0; i < items.size(); ++i) {
    Result* const result = results->Add();
    const std::string& call_id = CallIdText(items[i]);
    if (call_id.size() <= kEchoBytesMax) result->set_call_id(call_id);
    absl::StatusOr<Value> value = read(items[i], FieldPlace{.list = list, .index = i});
    if (!value.ok()) {
      *result->mutable_status() = ToWireStatus(value.status(), log);
      continue;
    }
    valid.values.push_back(*std::move(value));
    valid.results.push_back(result);
  }
  return valid;
}

// A callback for the store that writes each answer into its result and ends the call.
template <typename Result>
auto WriteAnswersAndFinish(UnaryCall* call, std::vector<Result*> results, Log* log) {
  return [call, results = std::move(results), log](auto answers) {
    for (size_t i = 0; i < results.size(); ++i) WriteResult(std::move(answers[i]), log, results[i]);
    call->FinishWith(absl::OkStatus());
  };
}

absl::StatusOr<CallId> ReadId(const std::string& text, const FieldPlace& place) {
  return ReadCallId(text, place);
}

}  // namespace

FunctionIoService::Begun FunctionIoService::Begin(grpc::CallbackServerContext* context, Rpc rpc,
                                                  absl::string_view items_field, int item_count) {
  Begun begun;
  begun.call = new UnaryCall(rpc, item_count, log_, clock_);
  begun.admitted = admission_->Admit(*context->auth_context(), rpc, items_field, item_count);
  if (begun.admitted.ok()) {
    begun.call->set_tenant(begun.admitted->tenant->name);
  } else {
    begun.call->FinishWith(begun.admitted.status());
  }
  return begun;
}

grpc::ServerUnaryReactor* FunctionIoService::PutInputs(grpc::CallbackServerContext* context,
                                                       const v1::PutInputsRequest* request,
                                                       v1::PutInputsResponse* response) {
  auto [call, admitted] = Begin(context, Rpc::kPutInputs, "items", request->items_size());
  if (!admitted.ok()) return call;
  const ValidationLimits limits = {.config = &config_, .retention = &admitted->tenant->retention};
  auto valid = ReadItems<NewInput>(
      request->items(), "items", response->mutable_results(), log_,
      [&](const v1::InputItem& item, const FieldPlace& place) {
        return ReadInputItem(item, place, limits, clock_);
      });
  // An id that was minted here is news to the client.
  for (size_t i = 0; i < valid.values.size(); ++i) {
    if (!valid.results[i]->call_id().empty()) continue;
    valid.results[i]->set_call_id(valid.values[i].call_id.ToString());
  }
  admitted->store->PutInputs(admitted->tenant, std::move(valid.values),
                             WriteAnswersAndFinish(call, std::move(valid.results), log_));
  return call;
}

grpc::ServerUnaryReactor* FunctionIoService::GetInputs(grpc::CallbackServerContext* context,
                                                       const v1::GetInputsRequest* request,
                                                       v1::GetInputsResponse* response) {
  auto [call, admitted] = Begin(context, Rpc::kGetInputs, "call_ids", request->call_ids_size());
  if (!admitted.ok()) return call;
  const auto bytes_max = ReadMaxBytes(request->max_bytes(), config_);
  if (!bytes_max.ok()) {
    call->FinishWith(bytes_max.status());
    return call;
  }
  auto valid = ReadItems<CallId>(request->call_ids(), "call_ids", response->mutable_results(),
                                 log_, ReadId);
  admitted->store->GetInputs(admitted->tenant, std::move(valid.values), *bytes_max,
                             WriteAnswersAndFinish(call, std::move(valid.results), log_));
  return call;
}

grpc::ServerUnaryReactor* FunctionIoService::PutOutputs(grpc::CallbackServerContext* context,
                                                        const v1::PutOutputsRequest* request,
                                                        v1::PutOutputsResponse* response) {
  auto [call, admitted] = Begin(context, Rpc::kPutOutputs, "items", request->items_size());
  if (!admitted.ok()) return call;
  const ValidationLimits limits = {.config = &config_, .retention = &admitted->tenant->retention};
  auto valid = ReadItems<NewOutput>(
      request->items(), "items", response->mutable_results(), log_,
      [&](const v1::OutputItem& item, const FieldPlace& place) {
        return ReadOutputItem(item, place, limits);
      });
  admitted->store->PutOutputs(admitted->tenant, std::move(valid.values),
                              WriteAnswersAndFinish(call, std::move(valid.results), log_));
  return call;
}

grpc::ServerUnaryReactor* FunctionIoService::ClaimOutputs(grpc::CallbackServerContext* context,
                                                          const v1::ClaimOutputsRequest* request,
                                                          v1::ClaimOutputsResponse* response) {
  auto [call, admitted] = Begin(context, Rpc::kClaimOutputs, "call_ids", request->call_ids_size());
  if (!admitted.ok()) return call;
  auto claim = ReadClaimRequest(*request, config_);
  if (!claim.ok()) {
    call->FinishWith(claim.status());
    return call;
  }
  // A malformed id has no result of its own here. It will never have an output, so it is told as
  // an ended call, and the others are not waited for.
  for (int i = 0; i < request->call_ids_size(); ++i) {
    const std::string& text = request->call_ids(i);
    const auto call_id = ReadCallId(text, {.list = "call_ids", .index = i});
    if (call_id.ok()) {
      claim->call_ids.push_back(*call_id);
      continue;
    }
    v1::EndedCall* const ended = response->add_ended();
    if (text.size() <= kEchoBytesMax) ended->set_call_id(text);
    *ended->mutable_status() = ToWireStatus(call_id.status(), log_);
    claim->wait_ms = 0;
  }
  call->set_claim(admitted->store->ClaimOutputs(
      admitted->tenant, *std::move(claim), [call = call, response, log = log_](ClaimResponse answer) {
        if (!call->BeginFinish()) return;
        for (ClaimedOutput& output : answer.outputs) {
          WriteClaimedOutput(std::move(output), response->add_outputs());
        }
        for (const EndedCall& ended : answer.ended) {
          WriteEndedCall(ended, log, response->add_ended());
        }
        response->set_pending_count(answer.pending_count);
        call->FinishWith(answer.status);
      }));
  return call;
}

grpc::ServerUnaryReactor* FunctionIoService::AckOutputs(grpc::CallbackServerContext* context,
                                                        const v1::AckOutputsRequest* request,
                                                        v1::AckOutputsResponse* response) {
  auto [call, admitted] = Begin(context, Rpc::kAckOutputs, "items", request->items_size());
  if (!admitted.ok()) return call;
  auto valid = ReadItems<ClaimRef>(
      request->items(), "items", response->mutable_results(), log_,
      [](const v1::AckItem& item, const FieldPlace& place) { return ReadClaim(item, place); });
  admitted->store->AckOutputs(admitted->tenant, std::move(valid.values),
                              WriteAnswersAndFinish(call, std::move(valid.results), log_));
  return call;
}

grpc::ServerUnaryReactor* FunctionIoService::ReleaseOutputs(
    grpc::CallbackServerContext* context, const v1::ReleaseOutputsRequest* request,
    v1::ReleaseOutputsResponse* response) {
  auto [call, admitted] = Begin(context, Rpc::kReleaseOutputs, "items", request->items_size());
  if (!admitted.ok()) return call;
  auto valid = ReadItems<ClaimRef>(
      request->items(), "items", response->mutable_results(), log_,
      [](const v1::ReleaseItem& item, const FieldPlace& place) { return ReadClaim(item, place); });
  admitted->store->ReleaseOutputs(admitted->tenant, std::move(valid.values),
                                  WriteAnswersAndFinish(call, std::move(valid.results), log_));
  return call;
}

grpc::ServerUnaryReactor* FunctionIoService::RenewClaims(grpc::CallbackServerContext* context,
                                                         const v1::RenewClaimsRequest* request,
                                                         v1::RenewClaimsResponse* response) {
  auto [call, admitted] = Begin(context, Rpc::kRenewClaims, "items", request->items_size());
  if (!admitted.ok()) return call;
  const auto lease_ms = ReadLeaseMs(request->has_lease(), request->lease(), config_);
  if (!lease_ms.ok()) {
    call->FinishWith(lease_ms.status());
    return call;
  }
  auto valid = ReadItems<ClaimRef>(
      request->items(), "items", response->mutable_results(), log_,
      [](const v1::RenewItem& item, const FieldPlace& place) { return ReadClaim(item, place); });
  admitted->store->RenewClaims(admitted->tenant, std::move(valid.values), *lease_ms,
                               WriteAnswersAndFinish(call, std::move(valid.results), log_));
  return call;
}

grpc::ServerUnaryReactor* FunctionIoService::DescribeCalls(grpc::CallbackServerContext* context,
                                                           const v1::DescribeCallsRequest* request,
                                                           v1::DescribeCallsResponse* response) {
  auto [call, admitted] =
      Begin(context, Rpc::kDescribeCalls, "call_ids", request->call_ids_size());
  if (!admitted.ok()) return call;
  auto valid = ReadItems<CallId>(request->call_ids(), "call_ids", response->mutable_results(),
                                 log_, ReadId);
  admitted->store->DescribeCalls(admitted->tenant, std::move(valid.values),
                                 WriteAnswersAndFinish(call, std::move(valid.results), log_));
  return call;
}

grpc::ServerUnaryReactor* FunctionIoService::DeleteCalls(grpc::CallbackServerContext* context,
                                                         const v1::DeleteCallsRequest* request,
                                                         v1::DeleteCallsResponse* response) {
  auto [call, admitted] = Begin(context, Rpc::kDeleteCalls, "call_ids", request->call_ids_size());
  if (!admitted.ok()) return call;
  auto valid = ReadItems<CallId>(request->call_ids(), "call_ids", response->mutable_results(),
                                 log_, ReadId);
  admitted->store->DeleteCalls(admitted->tenant, std::move(valid.values),
                               WriteAnswersAndFinish(call, std::move(valid.results), log_));
  return call;
}

}  // namespace mayfly
