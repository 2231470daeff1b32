// Implements FunctionIo as proto/mayfly/v1/function_io.proto describes it: admits the RPC,
// validates every item, passes valid items to the store, and returns results in the order of the
// request.
//
// An RPC runs on the gRPC thread that received it until the store takes over, sealing included;
// that thread never waits for a disk. The response is written on the thread of the store's
// callback.
#pragma once

#include <grpcpp/support/server_callback.h>

#include "base/clock.h"
#include "config/config.h"
#include "mayfly/v1/function_io.grpc.pb.h"
#include "rpc/access.h"
#include "rpc/admission.h"
#include "rpc/arena_messages.h"
#include "rpc/bidi_stream.h"
#include "rpc/in_flight.h"
#include "rpc/log.h"
#include "rpc/open_calls.h"
#include "rpc/open_streams.h"
#include "rpc/unary_call.h"

namespace mayfly {

class FunctionIoService final : public v1::FunctionIo::CallbackService {
 public:
  // All must outlive the service.
  FunctionIoService(const Config& config, Admission* admission, InFlight* in_flight,
                    OpenStreams* open_streams, OpenCalls* open_calls, Log* log, Clock* clock);

  grpc::ServerUnaryReactor* PutInputs(grpc::CallbackServerContext* context,
                                      const v1::PutInputsRequest* request,
                                      v1::PutInputsResponse* response) override;
  grpc::ServerUnaryReactor* GetInputs(grpc::CallbackServerContext* context,
                                      const v1::GetInputsRequest* request,
                                      v1::GetInputsResponse* response) override;
  grpc::ServerUnaryReactor* PutOutputs(grpc::CallbackServerContext* context,
                                       const v1::PutOutputsRequest* request,
                                       v1::PutOutputsResponse* response) override;
  grpc::ServerUnaryReactor* ClaimOutputs(grpc::CallbackServerContext* context,
                                         const v1::ClaimOutputsRequest* request,
                                         v1::ClaimOutputsResponse* response) override;
  grpc::ServerUnaryReactor* AckOutputs(grpc::CallbackServerContext* context,
                                       const v1::AckOutputsRequest* request,
                                       v1::AckOutputsResponse* response) override;
  grpc::ServerUnaryReactor* ReleaseOutputs(grpc::CallbackServerContext* context,
                                           const v1::ReleaseOutputsRequest* request,
                                           v1::ReleaseOutputsResponse* response) override;
  grpc::ServerUnaryReactor* RenewClaims(grpc::CallbackServerContext* context,
                                        const v1::RenewClaimsRequest* request,
                                        v1::RenewClaimsResponse* response) override;
  grpc::ServerUnaryReactor* DescribeCalls(grpc::CallbackServerContext* context,
                                          const v1::DescribeCallsRequest* request,
                                          v1::DescribeCallsResponse* response) override;
  grpc::ServerUnaryReactor* DeleteCalls(grpc::CallbackServerContext* context,
                                        const v1::DeleteCallsRequest* request,
                                        v1::DeleteCallsResponse* response) override;
  grpc::ServerReadReactor<v1::UploadRequest>* Upload(grpc::CallbackServerContext* context,
                                                     v1::UploadResponse* response) override;
  grpc::ServerUnaryReactor* QueryUpload(grpc::CallbackServerContext* context,
                                        const v1::QueryUploadRequest* request,
                                        v1::QueryUploadResponse* response) override;
  grpc::ServerWriteReactor<v1::DownloadResponse>* Download(
      grpc::CallbackServerContext* context, const v1::DownloadRequest* request) override;
  grpc::ServerBidiReactor<v1::StreamOutputsRequest, v1::StreamOutputsResponse>* StreamOutputs(
      grpc::CallbackServerContext* context) override;
  grpc::ServerBidiReactor<v1::StreamPutsRequest, v1::StreamPutsResponse>* StreamPuts(
      grpc::CallbackServerContext* context) override;

  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* context,
                                          const v1::GetServerInfoRequest* request,
                                          v1::GetServerInfoResponse* response) override;

 private:
  struct Begun {
    UnaryCall* call = nullptr;
    CallStore* store = nullptr;  // null: rejected, and the call is finished
    Tenant* tenant = nullptr;
    PayloadTaker* taker = nullptr;  // set for RPCs that return payloads
  };
  StreamSurroundings Surroundings() {
    return {.open_streams = open_streams_,
            .open_calls = open_calls_,
            .in_flight = in_flight_,
            .log = log_,
            .clock = clock_};
  }
  template <typename Request, typename Response>
  using UnaryMethod = grpc::ServerUnaryReactor* (FunctionIoService::*)(grpc::CallbackServerContext*,
                                                                       const Request*, Response*);
  // Registers `method` as the handler of the RPC. Its messages come from `messages`.
  template <typename Request, typename Response>
  void Handle(Rpc rpc, UnaryMethod<Request, Response> method,
              grpc::MessageAllocator<Request, Response>* messages);
  void HandleDownload();
  Begun Begin(grpc::CallbackServerContext* context, Rpc rpc, const ItemCount& items);

  const Config& config_;
  Admission* const admission_;
  InFlight* const in_flight_;
  OpenStreams* const open_streams_;
  OpenCalls* const open_calls_;
  Log* const log_;
  Clock* const clock_;

  ArenaMessages<v1::PutInputsRequest, v1::PutInputsResponse> put_inputs_messages_;
  ArenaMessages<v1::GetInputsRequest, v1::GetInputsResponse> get_inputs_messages_;
  ArenaMessages<v1::PutOutputsRequest, v1::PutOutputsResponse> put_outputs_messages_;
  ArenaMessages<v1::ClaimOutputsRequest, v1::ClaimOutputsResponse> claim_outputs_messages_;
  ArenaMessages<v1::AckOutputsRequest, v1::AckOutputsResponse> ack_outputs_messages_;
  ArenaMessages<v1::ReleaseOutputsRequest, v1::ReleaseOutputsResponse> release_outputs_messages_;
  ArenaMessages<v1::RenewClaimsRequest, v1::RenewClaimsResponse> renew_claims_messages_;
  ArenaMessages<v1::DescribeCallsRequest, v1::DescribeCallsResponse> describe_calls_messages_;
  ArenaMessages<v1::DeleteCallsRequest, v1::DeleteCallsResponse> delete_calls_messages_;
  ArenaMessages<v1::QueryUploadRequest, v1::QueryUploadResponse> query_upload_messages_;
  ArenaMessages<v1::GetServerInfoRequest, v1::GetServerInfoResponse> get_server_info_messages_;
};

}  // namespace mayfly
