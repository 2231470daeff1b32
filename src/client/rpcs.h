// One struct for each RPC that takes a batch. It names the messages, and says how an item is added
// to a request and how a result is read from a response.
#pragma once

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include <google/protobuf/repeated_field.h>

#include "client/convert.h"
#include "client/minted_ids.h"
#include "client/rpc_call.h"
#include "mayfly/call.h"

namespace mayfly::client {

// The common case: items are converted, and a response has every item's data.
template <typename RequestMessage, typename ResponseMessage, typename ItemValue,
          typename ResultValue>
struct ItemsRpc {
  using Request = RequestMessage;
  using Response = ResponseMessage;
  using Item = ItemValue;
  using Result = ResultValue;
  using Ids = GivenIds;

  static auto* Items(Request* request) { return request->mutable_items(); }
  static void Add(Item item, Request* request) { ToProto(std::move(item), request->add_items()); }
  static size_t SizeBytes(const Claim&) { return 0; }
  template <typename Put>
  static size_t SizeBytes(const Put& put) {
    return put.payload.data.size();
  }
  template <typename Answer>
  static bool DidNotFit(const Answer&) {
    return false;
  }
};

template <typename RequestMessage, typename ResponseMessage, typename ResultValue>
struct CallIdsRpc {
  using Request = RequestMessage;
  using Response = ResponseMessage;
  using Item = std::string;
  using Result = ResultValue;
  using Ids = GivenIds;

  static auto* Items(Request* request) { return request->mutable_call_ids(); }
  static void Add(Item item, Request* request) { request->add_call_ids(std::move(item)); }
  static size_t SizeBytes(const Item& item) { return item.size(); }
  template <typename Answer>
  static bool DidNotFit(const Answer&) {
    return false;
  }
};

template <typename Answer>
absl::StatusOr<Stored> ReadStored(Answer* answer) {
  RETURN_IF_ERROR(StatusFromProto(answer->status()));
  Stored stored{.call_id = answer->call_id(), .deadline = std::nullopt};
  if (answer->has_deadline_time()) stored.deadline = FromProto(answer->deadline_time());
  return stored;
}

struct PutInputsRpc
    : ItemsRpc<v1::PutInputsRequest, v1::PutInputsResponse, Input, absl::StatusOr<Stored>> {
  using Ids = MintedIds;
  static constexpr RpcMethod<Request, Response> kMethod = {
      .call = &v1::FunctionIo::StubInterface::AsyncPutInputs,
      .session_request = &v1::NumberedRequest::mutable_put_inputs,
      .session_response = &v1::NumberedResponse::mutable_put_inputs};
  static Result Read(v1::PutInputResult* answer) { return ReadStored(answer); }
};

struct GetInputsRpc
    : CallIdsRpc<v1::GetInputsRequest, v1::GetInputsResponse, absl::StatusOr<StoredInput>> {
  static constexpr RpcMethod<Request, Response> kMethod = {
      .call = &v1::FunctionIo::StubInterface::AsyncGetInputs,
      .session_request = &v1::NumberedRequest::mutable_get_inputs,
      .session_response = &v1::NumberedResponse::mutable_get_inputs};
  static bool DidNotFit(const v1::GetInputResult& answer) {
    return answer.status().code() == 0 && !answer.has_payload();
  }
  static Result Read(v1::GetInputResult* answer) {
    RETURN_IF_ERROR(StatusFromProto(answer->status()));
    absl::StatusOr<Payload> payload = Payload();  // stays empty if it is too large for a message
    if (answer->has_payload()) payload = FromProto(answer->mutable_payload());
    RETURN_IF_ERROR(payload.status());
    return StoredInput{.call_id = answer->call_id(),
                       .payload = *std::move(payload),
                       .size_bytes = answer->size_bytes(),
                       .deadline = FromProto(answer->deadline_time())};
  }
};

struct PutOutputsRpc
    : ItemsRpc<v1::PutOutputsRequest, v1::PutOutputsResponse, Output, absl::StatusOr<Stored>> {
  static constexpr RpcMethod<Request, Response> kMethod = {
      .call = &v1::FunctionIo::StubInterface::AsyncPutOutputs,
      .session_request = &v1::NumberedRequest::mutable_put_outputs,
      .session_response = &v1::NumberedResponse::mutable_put_outputs};
  static Result Read(v1::PutOutputResult* answer) { return ReadStored(answer); }
};

struct AckOutputsRpc
    : ItemsRpc<v1::AckOutputsRequest, v1::AckOutputsResponse, Claim, absl::StatusOr<absl::Time>> {
  static constexpr RpcMethod<Request, Response> kMethod = {
      .call = &v1::FunctionIo::StubInterface::AsyncAckOutputs,
      .session_request = &v1::NumberedRequest::mutable_ack_outputs,
      .session_response = &v1::NumberedResponse::mutable_ack_outputs};
  static Result Read(v1::AckResult* answer) {
    RETURN_IF_ERROR(StatusFromProto(answer->status()));
    return FromProto(answer->erase_time());
  }
};

struct ReleaseOutputsRpc
    : ItemsRpc<v1::ReleaseOutputsRequest, v1::ReleaseOutputsResponse, Claim, absl::Status> {
  static constexpr RpcMethod<Request, Response> kMethod = {
      .call = &v1::FunctionIo::StubInterface::AsyncReleaseOutputs,
      .session_request = &v1::NumberedRequest::mutable_release_outputs,
      .session_response = &v1::NumberedResponse::mutable_release_outputs};
  static Result Read(v1::ReleaseResult* answer) { return StatusFromProto(answer->status()); }
};

struct RenewClaimsRpc
    : ItemsRpc<v1::RenewClaimsRequest, v1::RenewClaimsResponse, Claim, absl::StatusOr<absl::Time>> {
  static constexpr RpcMethod<Request, Response> kMethod = {
      .call = &v1::FunctionIo::StubInterface::AsyncRenewClaims,
      .session_request = &v1::NumberedRequest::mutable_renew_claims,
      .session_response = &v1::NumberedResponse::mutable_renew_claims};
  static Result Read(v1::RenewResult* answer) {
    RETURN_IF_ERROR(StatusFromProto(answer->status()));
    return FromProto(answer->lease_end_time());
  }
};

struct DescribeCallsRpc : CallIdsRpc<v1::DescribeCallsRequest, v1::DescribeCallsResponse,
                                     absl::StatusOr<CallDescription>> {
  static constexpr RpcMethod<Request, Response> kMethod = {
      .call = &v1::FunctionIo::StubInterface::AsyncDescribeCalls,
      .session_request = &v1::NumberedRequest::mutable_describe_calls,
      .session_response = &v1::NumberedResponse::mutable_describe_calls};
  static Result Read(v1::CallDescription* answer) {
    RETURN_IF_ERROR(StatusFromProto(answer->status()));
    return FromProto(*answer);
  }
};

struct DeleteCallsRpc
    : CallIdsRpc<v1::DeleteCallsRequest, v1::DeleteCallsResponse, absl::StatusOr<absl::Time>> {
  static constexpr RpcMethod<Request, Response> kMethod = {
      .call = &v1::FunctionIo::StubInterface::AsyncDeleteCalls,
      .session_request = &v1::NumberedRequest::mutable_delete_calls,
      .session_response = &v1::NumberedResponse::mutable_delete_calls};
  static Result Read(v1::DeleteResult* answer) {
    RETURN_IF_ERROR(StatusFromProto(answer->status()));
    return FromProto(answer->erase_time());
  }
};

}  // namespace mayfly::client
