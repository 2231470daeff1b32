// Implements FunctionIo as proto/mayfly/v1/function_io.proto describes it: admits the RPC and gives
// it to what carries it out: requests.h for the batch RPCs, and a class for each RPC that streams.
//
// The response is written on the thread of the store's callback.
#pragma once

#include <functional>

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
#include "rpc/requests.h"
#include "rpc/unary_call.h"

namespace mayfly {

class FunctionIoService final : public v1::FunctionIo::CallbackService {
 public:
  // All must outlive the service.
  FunctionIoService(const Config& config, Admission* admission, InFlight* in_flight,
                    OpenStreams* open_streams, OpenCalls* open_calls, Log* log, Clock* clock);

  grpc::ServerReadReactor<v1::UploadRequest>* Upload(grpc::CallbackServerContext* context,
                                                     v1::UploadResponse* response) override;
  grpc::ServerWriteReactor<v1::DownloadResponse>* Download(
      grpc::CallbackServerContext* context, const v1::DownloadRequest* request) override;
  grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>* Session(
      grpc::CallbackServerContext* context) override;

 private:
  struct Begun {
    UnaryCall* call = nullptr;
    Requests::Caller caller;  // without a store: rejected, and the call is finished
  };
  StreamSurroundings Surroundings() {
    return {.open_streams = open_streams_,
            .open_calls = open_calls_,
            .in_flight = in_flight_,
            .log = log_,
            .clock = clock_};
  }
  template <typename Request, typename Response>
  using UnaryHandler = std::function<grpc::ServerUnaryReactor*(grpc::CallbackServerContext*,
                                                               const Request*, Response*)>;
  // Registers the handler of the RPC. Its messages come from `messages`.
  template <typename Request, typename Response>
  void Handle(Rpc rpc, UnaryHandler<Request, Response> handler,
              grpc::MessageAllocator<Request, Response>* messages);
  template <typename Request, typename Response>
  void HandleBatch(Rpc rpc, Requests::Method<Request, Response> method,
                   grpc::MessageAllocator<Request, Response>* messages);
  void HandleDownload();
  Begun Begin(grpc::CallbackServerContext* context, Rpc rpc, const ItemCount& items);
  grpc::ServerUnaryReactor* QueryUpload(grpc::CallbackServerContext* context,
                                        const v1::QueryUploadRequest& request,
                                        v1::QueryUploadResponse* response);
  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* context,
                                          v1::GetServerInfoResponse* response);

  const Config& config_;
  Admission* const admission_;
  InFlight* const in_flight_;
  OpenStreams* const open_streams_;
  OpenCalls* const open_calls_;
  Log* const log_;
  Clock* const clock_;
  const Requests requests_;

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
