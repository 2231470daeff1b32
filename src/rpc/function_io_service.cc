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
#include "rpc/server_info.h"
#include "rpc/session_stream.h"
#include "rpc/status.h"
#include "rpc/upload_call.h"
#include "rpc/validation.h"

namespace mayfly {
namespace {

constexpr ItemCount kOneUpload = {.field = "upload_id", .count = 1};

grpc::ServerUnaryReactor* FinishCall(UnaryCall* call, const absl::Status& status) {
  call->FinishWith(status);
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
      clock_(clock),
      requests_(config, log) {
  HandleBatch(Rpc::kPutInputs, &Requests::PutInputs, &put_inputs_messages_);
  HandleBatch(Rpc::kGetInputs, &Requests::GetInputs, &get_inputs_messages_);
  HandleBatch(Rpc::kPutOutputs, &Requests::PutOutputs, &put_outputs_messages_);
  HandleBatch(Rpc::kClaimOutputs, &Requests::ClaimOutputs, &claim_outputs_messages_);
  HandleBatch(Rpc::kAckOutputs, &Requests::AckOutputs, &ack_outputs_messages_);
  HandleBatch(Rpc::kReleaseOutputs, &Requests::ReleaseOutputs, &release_outputs_messages_);
  HandleBatch(Rpc::kRenewClaims, &Requests::RenewClaims, &renew_claims_messages_);
  HandleBatch(Rpc::kDescribeCalls, &Requests::DescribeCalls, &describe_calls_messages_);
  HandleBatch(Rpc::kDeleteCalls, &Requests::DeleteCalls, &delete_calls_messages_);
  Handle<v1::QueryUploadRequest, v1::QueryUploadResponse>(
      Rpc::kQueryUpload,
      [this](grpc::CallbackServerContext* context, const v1::QueryUploadRequest* request,
             v1::QueryUploadResponse* response) {
        return QueryUpload(context, *request, response);
      },
      &query_upload_messages_);
  Handle<v1::GetServerInfoRequest, v1::GetServerInfoResponse>(
      Rpc::kGetServerInfo,
      [this](grpc::CallbackServerContext* context, const v1::GetServerInfoRequest*,
             v1::GetServerInfoResponse* response) { return GetServerInfo(context, response); },
      &get_server_info_messages_);
  HandleDownload();
}

template <typename Request, typename Response>
void FunctionIoService::Handle(Rpc rpc, UnaryHandler<Request, Response> handler,
                               grpc::MessageAllocator<Request, Response>* messages) {
  using GrpcHandler = grpc::internal::CallbackUnaryHandler<Request, Response>;
  auto accepting = std::make_unique<GrpcHandler>(std::move(handler));
  auto refusing = std::make_unique<GrpcHandler>(
      [this, rpc](grpc::CallbackServerContext*, const Request*, Response*) {
        auto* const call = new UnaryCall(rpc, /*item_count=*/0, in_flight_, log_, clock_);
        return FinishCall(call, MalformedRequestError(rpc));
      });
  accepting->SetMessageAllocator(messages);
  refusing->SetMessageAllocator(messages);
  MarkMethodCallback(MethodIndex(rpc),
                     new CheckedHandler(std::move(accepting), std::move(refusing)));
}

template <typename Request, typename Response>
void FunctionIoService::HandleBatch(Rpc rpc, Requests::Method<Request, Response> method,
                                    grpc::MessageAllocator<Request, Response>* messages) {
  Handle<Request, Response>(
      rpc,
      [this, rpc, method](grpc::CallbackServerContext* context, const Request* request,
                          Response* response) -> grpc::ServerUnaryReactor* {
        const Begun begun = Begin(context, rpc, CountOf(*request));
        if (begun.caller.store == nullptr) return begun.call;
        UnaryCall* const call = begun.call;
        call->set_claim(
            (requests_.*method)(begun.caller, *request, response,
                                [call](const absl::Status& status) { call->FinishWith(status); }));
        return call;
      },
      messages);
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
  Begun begun = {.call = new UnaryCall(rpc, items.count, in_flight_, log_, clock_), .caller = {}};
  const auto admitted = admission_->Admit(*context->auth_context(), rpc, items);
  if (!admitted.ok()) {
    begun.call->FinishWith(admitted.status());
    return begun;
  }
  admission_->ProveConnection(*context, *admitted->tenant);
  begun.call->set_tenant(admitted->tenant->name);
  begun.caller.store = admitted->store;
  begun.caller.tenant = admitted->tenant;
  if (ReturnsPayloads(rpc)) {
    begun.caller.taker = begun.call->Open(open_calls_, context, *admitted);
  }
  return begun;
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
                                                         const v1::QueryUploadRequest& request,
                                                         v1::QueryUploadResponse* response) {
  const Begun begun = Begin(context, Rpc::kQueryUpload, kOneUpload);
  if (begun.caller.store == nullptr) return begun.call;
  const auto id = ReadUploadId(request.upload_id());
  if (!id.ok()) return FinishCall(begun.call, id.status());
  begun.caller.store->QueryUpload(
      begun.caller.tenant, *id,
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

grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>* FunctionIoService::Session(
    grpc::CallbackServerContext* context) {
  return SessionStream::Begin(context, config_, requests_, admission_, Surroundings());
}

}  // namespace mayfly
