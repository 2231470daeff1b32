#include "rpc/function_io_service.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <google/protobuf/descriptor.h>

#include "base/error.h"
#include "rpc/answer.h"
#include "rpc/checked_handler.h"
#include "rpc/download_call.h"
#include "rpc/output_stream.h"
#include "rpc/put_stream.h"
#include "rpc/server_info.h"
#include "rpc/shared_outcome.h"
#include "rpc/status.h"
#include "rpc/upload_call.h"
#include "rpc/valid_items.h"
#include "rpc/validation.h"

namespace mayfly {
namespace {

constexpr ItemCount kOneUpload = {.field = "upload_id", .count = 1};

grpc::ServerUnaryReactor* FinishCall(UnaryCall* call, const absl::Status& status) {
  call->FinishWith(status);
  return call;
}

// Passes the valid items to `submit(values, done)`. `done` writes each answer into its result and
// ends the call.
template <typename Value, typename Result, typename Submit>
grpc::ServerUnaryReactor* SubmitItems(UnaryCall* call, ValidItems<Value, Result> valid, Log* log,
                                      Submit submit) {
  if (valid.values.empty()) return FinishCall(call, absl::OkStatus());
  submit(std::move(valid.values), [call, results = std::move(valid.results), log](auto answers) {
    WriteResults(std::move(answers), results, log);
    call->FinishWith(absl::OkStatus());
  });
  return call;
}

absl::Status MalformedRequestError(Rpc rpc) {
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kFieldInvalid,
                   absl::StrCat("the request is not a valid ", RpcName(rpc),
                                "Request: its bytes do not parse as that protobuf message"));
}

int MethodIndex(Rpc rpc) {
  const google::protobuf::ServiceDescriptor* const service =
      v1::PutInputsRequest::descriptor()->file()->FindServiceByName("FunctionIo");
  return service->FindMethodByName(std::string(RpcName(rpc)))->index();
}

absl::StatusOr<CallId> ReadId(const std::string& text, const FieldPlace& place) {
  return ReadCallId(text, place);
}

}  // namespace

FunctionIoService::FunctionIoService(const Config& config, Admission* admission,
                                     InFlight* in_flight, OpenStreams* open_streams,
                                     OpenCalls* open_calls, Log* log, Clock* clock)
    : config_(config),
      admission_(admission),
      in_flight_(in_flight),
      open_streams_(open_streams),
      open_calls_(open_calls),
      log_(log),
      clock_(clock) {
  Handle(Rpc::kPutInputs, &FunctionIoService::PutInputs, &put_inputs_messages_);
  Handle(Rpc::kGetInputs, &FunctionIoService::GetInputs, &get_inputs_messages_);
  Handle(Rpc::kPutOutputs, &FunctionIoService::PutOutputs, &put_outputs_messages_);
  Handle(Rpc::kClaimOutputs, &FunctionIoService::ClaimOutputs, &claim_outputs_messages_);
  Handle(Rpc::kAckOutputs, &FunctionIoService::AckOutputs, &ack_outputs_messages_);
  Handle(Rpc::kReleaseOutputs, &FunctionIoService::ReleaseOutputs, &release_outputs_messages_);
  Handle(Rpc::kRenewClaims, &FunctionIoService::RenewClaims, &renew_claims_messages_);
  Handle(Rpc::kDescribeCalls, &FunctionIoService::DescribeCalls, &describe_calls_messages_);
  Handle(Rpc::kDeleteCalls, &FunctionIoService::DeleteCalls, &delete_calls_messages_);
  Handle(Rpc::kQueryUpload, &FunctionIoService::QueryUpload, &query_upload_messages_);
  Handle(Rpc::kGetServerInfo, &FunctionIoService::GetServerInfo, &get_server_info_messages_);
  HandleDownload();
}

template <typename Request, typename Response>
void FunctionIoService::Handle(Rpc rpc, UnaryMethod<Request, Response> method,
                               grpc::MessageAllocator<Request, Response>* messages) {
  using Handler = grpc::internal::CallbackUnaryHandler<Request, Response>;
  auto handler = std::make_unique<Handler>(
      [this, method](grpc::CallbackServerContext* context, const Request* request,
                     Response* response) { return (this->*method)(context, request, response); });
  auto refusal = std::make_unique<Handler>(
      [this, rpc](grpc::CallbackServerContext*, const Request*, Response*) {
        auto* const call = new UnaryCall(rpc, /*item_count=*/0, in_flight_, log_, clock_);
        return FinishCall(call, MalformedRequestError(rpc));
      });
  handler->SetMessageAllocator(messages);
  refusal->SetMessageAllocator(messages);
  MarkMethodCallback(MethodIndex(rpc), new CheckedHandler(std::move(handler), std::move(refusal)));
}

void FunctionIoService::HandleDownload() {
  using Handler =
      grpc::internal::CallbackServerStreamingHandler<v1::DownloadRequest, v1::DownloadResponse>;
  auto handler = std::make_unique<Handler>(
      [this](grpc::CallbackServerContext* context, const v1::DownloadRequest* request) {
        return Download(context, request);
      });
  auto refusal =
      std::make_unique<Handler>([this](grpc::CallbackServerContext*, const v1::DownloadRequest*) {
        auto* const call = new DownloadCall(in_flight_, open_calls_, log_, clock_);
        call->Refuse(MalformedRequestError(Rpc::kDownload));
        return call;
      });
  MarkMethodCallback(MethodIndex(Rpc::kDownload),
                     new CheckedHandler(std::move(handler), std::move(refusal)));
}

FunctionIoService::Begun FunctionIoService::Begin(grpc::CallbackServerContext* context, Rpc rpc,
                                                  const ItemCount& items) {
  Begun begun = {.call = new UnaryCall(rpc, items.count, in_flight_, log_, clock_)};
  const auto admitted = admission_->Admit(*context->auth_context(), rpc, items);
  if (!admitted.ok()) {
    begun.call->FinishWith(admitted.status());
    return begun;
  }
  admission_->ProveConnection(*context, *admitted->tenant);
  begun.call->set_tenant(admitted->tenant->name);
  begun.store = admitted->store;
  begun.tenant = admitted->tenant;
  if (rpc == Rpc::kGetInputs || rpc == Rpc::kClaimOutputs) {
    begun.taker = begun.call->Open(open_calls_, context, *admitted);
  }
  return begun;
}

grpc::ServerUnaryReactor* FunctionIoService::PutInputs(grpc::CallbackServerContext* context,
                                                       const v1::PutInputsRequest* request,
                                                       v1::PutInputsResponse* response) {
  const Begun begun =
      Begin(context, Rpc::kPutInputs, {.field = "items", .count = request->items_size()});
  if (begun.store == nullptr) return begun.call;
  const ValidationLimits limits = {.config = &config_,
                                   .retention = &begun.tenant->policy().retention};
  auto valid = ReadItems<NewPut>(request->items(), "items", response->mutable_results(), log_,
                                 [&](const v1::InputItem& item, const FieldPlace& place) {
                                   return ReadInputItem(item, place, limits,
                                                        [&] { return begun.store->MintCallId(); });
                                 });
  NameMintedCalls(valid);
  return SubmitItems(begun.call, std::move(valid), log_, [&](auto values, auto done) {
    begun.store->Put(begun.tenant, std::move(values), std::move(done));
  });
}

grpc::ServerUnaryReactor* FunctionIoService::GetInputs(grpc::CallbackServerContext* context,
                                                       const v1::GetInputsRequest* request,
                                                       v1::GetInputsResponse* response) {
  const Begun begun =
      Begin(context, Rpc::kGetInputs, {.field = "call_ids", .count = request->call_ids_size()});
  if (begun.store == nullptr) return begun.call;
  const auto bytes_max = ReadMaxBytes(request->max_bytes(), config_);
  if (!bytes_max.ok()) return FinishCall(begun.call, bytes_max.status());
  auto valid =
      ReadItems<CallId>(request->call_ids(), "call_ids", response->mutable_results(), log_, ReadId);
  return SubmitItems(begun.call, std::move(valid), log_, [&](auto values, auto done) {
    begun.store->GetInputs(begun.tenant, std::move(values), *bytes_max, std::move(done),
                           begun.taker);
  });
}

grpc::ServerUnaryReactor* FunctionIoService::PutOutputs(grpc::CallbackServerContext* context,
                                                        const v1::PutOutputsRequest* request,
                                                        v1::PutOutputsResponse* response) {
  const Begun begun =
      Begin(context, Rpc::kPutOutputs, {.field = "items", .count = request->items_size()});
  if (begun.store == nullptr) return begun.call;
  const ValidationLimits limits = {.config = &config_,
                                   .retention = &begun.tenant->policy().retention};
  auto valid = ReadItems<NewPut>(request->items(), "items", response->mutable_results(), log_,
                                 [&](const v1::OutputItem& item, const FieldPlace& place) {
                                   return ReadOutputItem(item, place, limits);
                                 });
  return SubmitItems(begun.call, std::move(valid), log_, [&](auto values, auto done) {
    begun.store->Put(begun.tenant, std::move(values), std::move(done));
  });
}

grpc::ServerUnaryReactor* FunctionIoService::ClaimOutputs(grpc::CallbackServerContext* context,
                                                          const v1::ClaimOutputsRequest* request,
                                                          v1::ClaimOutputsResponse* response) {
  const Begun begun = Begin(context, Rpc::kClaimOutputs,
                            {.field = "call_ids",
                             .count = request->call_ids_size(),
                             .extra_field = "acks",
                             .extra_count = request->acks_size()});
  if (begun.store == nullptr) return begun.call;
  auto claim = ReadClaimRequest(*request, config_);
  if (!claim.ok()) return FinishCall(begun.call, claim.status());
  claim->taker = begun.taker;
  auto acks = ReadItems<ClaimRef>(
      request->acks(), "acks", response->mutable_ack_results(), log_,
      [](const v1::AckItem& item, const FieldPlace& place) { return ReadClaim(item, place); });
  // A malformed id has no result of its own here. Such a call will never have an output, so it is
  // reported as ended, and the poll does not wait for the others.
  for (int i = 0; i < request->call_ids_size(); ++i) {
    const std::string& text = request->call_ids(i);
    const auto call_id = ReadCallId(text, {.list = "call_ids", .index = i});
    if (call_id.ok()) {
      claim->call_ids.push_back(*call_id);
      continue;
    }
    WriteMalformedCall(text, call_id.status(), log_, response->add_ended());
    claim->wait_ms = 0;
  }
  UnaryCall* const call = begun.call;
  // The acks and the claim write into different parts of the response. The later one ends the call.
  auto outcome = std::make_shared<SharedOutcome>(call, /*count=*/acks.values.empty() ? 1 : 2);
  if (!acks.values.empty()) {
    begun.store->AckOutputs(
        begun.tenant, std::move(acks.values),
        [outcome, results = std::move(acks.results), log = log_](std::vector<EndResult> answers) {
          WriteResults(std::move(answers), results, log);
          outcome->Arrive(absl::OkStatus());
        });
  }
  call->set_claim(begun.store->ClaimOutputs(
      begun.tenant, *std::move(claim), [outcome, response, log = log_](ClaimResponse answer) {
        for (ClaimedOutput& output : answer.outputs) {
          WriteClaimedOutput(std::move(output), response->add_outputs());
        }
        for (const EndedCall& ended : answer.ended) {
          WriteEndedCall(ended, log, response->add_ended());
        }
        response->set_pending_count(answer.pending_count);
        outcome->Arrive(answer.status);
      }));
  return call;
}

grpc::ServerUnaryReactor* FunctionIoService::AckOutputs(grpc::CallbackServerContext* context,
                                                        const v1::AckOutputsRequest* request,
                                                        v1::AckOutputsResponse* response) {
  const Begun begun =
      Begin(context, Rpc::kAckOutputs, {.field = "items", .count = request->items_size()});
  if (begun.store == nullptr) return begun.call;
  auto valid = ReadItems<ClaimRef>(
      request->items(), "items", response->mutable_results(), log_,
      [](const v1::AckItem& item, const FieldPlace& place) { return ReadClaim(item, place); });
  return SubmitItems(begun.call, std::move(valid), log_, [&](auto values, auto done) {
    begun.store->AckOutputs(begun.tenant, std::move(values), std::move(done));
  });
}

grpc::ServerUnaryReactor* FunctionIoService::ReleaseOutputs(
    grpc::CallbackServerContext* context, const v1::ReleaseOutputsRequest* request,
    v1::ReleaseOutputsResponse* response) {
  const Begun begun =
      Begin(context, Rpc::kReleaseOutputs, {.field = "items", .count = request->items_size()});
  if (begun.store == nullptr) return begun.call;
  auto valid = ReadItems<ClaimRef>(
      request->items(), "items", response->mutable_results(), log_,
      [](const v1::ReleaseItem& item, const FieldPlace& place) { return ReadClaim(item, place); });
  return SubmitItems(begun.call, std::move(valid), log_, [&](auto values, auto done) {
    begun.store->ReleaseOutputs(begun.tenant, std::move(values), std::move(done));
  });
}

grpc::ServerUnaryReactor* FunctionIoService::RenewClaims(grpc::CallbackServerContext* context,
                                                         const v1::RenewClaimsRequest* request,
                                                         v1::RenewClaimsResponse* response) {
  const Begun begun =
      Begin(context, Rpc::kRenewClaims, {.field = "items", .count = request->items_size()});
  if (begun.store == nullptr) return begun.call;
  const auto lease_ms = ReadLeaseMs(request->has_lease(), request->lease(), config_);
  if (!lease_ms.ok()) return FinishCall(begun.call, lease_ms.status());
  auto valid = ReadItems<ClaimRef>(
      request->items(), "items", response->mutable_results(), log_,
      [](const v1::RenewItem& item, const FieldPlace& place) { return ReadClaim(item, place); });
  return SubmitItems(begun.call, std::move(valid), log_, [&](auto values, auto done) {
    begun.store->RenewClaims(begun.tenant, std::move(values), *lease_ms, std::move(done));
  });
}

grpc::ServerUnaryReactor* FunctionIoService::DescribeCalls(grpc::CallbackServerContext* context,
                                                           const v1::DescribeCallsRequest* request,
                                                           v1::DescribeCallsResponse* response) {
  const Begun begun =
      Begin(context, Rpc::kDescribeCalls, {.field = "call_ids", .count = request->call_ids_size()});
  if (begun.store == nullptr) return begun.call;
  auto valid =
      ReadItems<CallId>(request->call_ids(), "call_ids", response->mutable_results(), log_, ReadId);
  return SubmitItems(begun.call, std::move(valid), log_, [&](auto values, auto done) {
    begun.store->DescribeCalls(begun.tenant, std::move(values), std::move(done));
  });
}

grpc::ServerUnaryReactor* FunctionIoService::DeleteCalls(grpc::CallbackServerContext* context,
                                                         const v1::DeleteCallsRequest* request,
                                                         v1::DeleteCallsResponse* response) {
  const Begun begun =
      Begin(context, Rpc::kDeleteCalls, {.field = "call_ids", .count = request->call_ids_size()});
  if (begun.store == nullptr) return begun.call;
  auto valid =
      ReadItems<CallId>(request->call_ids(), "call_ids", response->mutable_results(), log_, ReadId);
  return SubmitItems(begun.call, std::move(valid), log_, [&](auto values, auto done) {
    begun.store->DeleteCalls(begun.tenant, std::move(values), std::move(done));
  });
}

grpc::ServerReadReactor<v1::UploadRequest>* FunctionIoService::Upload(
    grpc::CallbackServerContext* context, v1::UploadResponse* response) {
  auto* const call = new UploadCall(config_, in_flight_, open_calls_, log_, clock_, response);
  const auto admitted = admission_->Admit(*context->auth_context(), Rpc::kUpload, kOneUpload);
  if (admitted.ok()) {
    admission_->ProveConnection(*context, *admitted->tenant);
    call->Start(*admitted, context);
  } else {
    call->Refuse(admitted.status());
  }
  return call;
}

grpc::ServerUnaryReactor* FunctionIoService::QueryUpload(grpc::CallbackServerContext* context,
                                                         const v1::QueryUploadRequest* request,
                                                         v1::QueryUploadResponse* response) {
  const Begun begun = Begin(context, Rpc::kQueryUpload, kOneUpload);
  if (begun.store == nullptr) return begun.call;
  const auto id = ReadUploadId(request->upload_id());
  if (!id.ok()) return FinishCall(begun.call, id.status());
  begun.store->QueryUpload(begun.tenant, *id,
                           [call = begun.call, response](absl::StatusOr<UploadProgress> progress) {
                             if (progress.ok()) {
                               response->set_call_id(progress->call_id.ToString());
                               response->set_committed_bytes(progress->committed_bytes);
                               WriteTime(progress->expire_ms, response->mutable_expire_time());
                             }
                             call->FinishWith(progress.status());
                           });
  return begun.call;
}

grpc::ServerUnaryReactor* FunctionIoService::GetServerInfo(grpc::CallbackServerContext* context,
                                                           const v1::GetServerInfoRequest*,
                                                           v1::GetServerInfoResponse* response) {
  auto* const call = new UnaryCall(Rpc::kGetServerInfo, /*item_count=*/0, in_flight_, log_, clock_);
  const auto admitted = admission_->AdmitCall(*context->auth_context(), Rpc::kGetServerInfo);
  if (!admitted.ok()) return FinishCall(call, admitted.status());
  admission_->ProveConnection(*context, *admitted->tenant);
  call->set_tenant(admitted->tenant->name);
  WriteServerInfo(config_, *admitted, response);
  return FinishCall(call, absl::OkStatus());
}

grpc::ServerWriteReactor<v1::DownloadResponse>* FunctionIoService::Download(
    grpc::CallbackServerContext* context, const v1::DownloadRequest* request) {
  auto* const call = new DownloadCall(in_flight_, open_calls_, log_, clock_);
  const auto admitted =
      admission_->Admit(*context->auth_context(), Rpc::kDownload, {.field = "call_id", .count = 1});
  if (admitted.ok()) {
    admission_->ProveConnection(*context, *admitted->tenant);
    call->Start(*admitted, *request, context);
  } else {
    call->Refuse(admitted.status());
  }
  return call;
}

grpc::ServerBidiReactor<v1::StreamOutputsRequest, v1::StreamOutputsResponse>*
FunctionIoService::StreamOutputs(grpc::CallbackServerContext* context) {
  return OutputStream::Begin(context, config_, admission_, Surroundings());
}

grpc::ServerBidiReactor<v1::StreamPutsRequest, v1::StreamPutsResponse>*
FunctionIoService::StreamPuts(grpc::CallbackServerContext* context) {
  return PutStream::Begin(context, config_, admission_, Surroundings());
}

}  // namespace mayfly
