// A MayflyLane takes one batch of calls after another through its life, one RPC at a time.
//
// The flow of a life is in Begin and Continue of the .cc, and nowhere else. Used by one thread, whose
// completion queue gives the lane back when its RPC has ended.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/support/async_unary_call.h>

#include "mayfly_channels.h"
#include "meter.h"
#include "workload.h"

namespace mayfly::peers {

// Which part of its life a lane takes a batch through.
enum class Part { kWholeLife, kPutInputs, kPutOutputs, kTakeOutputs };

class MayflyLane {
 public:
  // All outlive the lane.
  MayflyLane(const Workload& workload, const PayloadPool* pool, const Stubs* stubs,
             grpc::CompletionQueue* queue, Meter* meter)
      : workload_(workload), pool_(pool), stubs_(stubs), queue_(queue), meter_(meter) {}

  // Starts the first RPC of a batch; lives are numbered from `first_life`, new ids are minted for
  // whole lives and inputs.
  void Begin(Part part, uint64_t first_life);
  void Begin(Part part, uint64_t first_life, std::vector<std::string> ids);
  // Ends the RPC that the queue gave back, and starts the next. False when the batch is through.
  bool Continue();

 private:
  template <typename Request, typename Response>
  struct Rpc {
    Request request;
    Response response;
    std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> reader;
  };

  void PutInputs();
  void GetInputs();
  void PutOutputs();
  void ClaimOutputs();
  void AckOutputs();
  void CheckInputs();
  void TakeClaims();
  void FillAcks(google::protobuf::RepeatedPtrField<v1::AckItem>* acks);

  template <typename Request, typename Response, typename Prepare>
  void Send(Step step, Rpc<Request, Response>* rpc, Prepare prepare);
  template <typename Results>
  void CheckResults(const Results& results) const;
  void EndStep();

  const Workload& workload_;
  const PayloadPool* const pool_;
  const Stubs* const stubs_;
  grpc::CompletionQueue* const queue_;
  Meter* const meter_;

  Part part_ = Part::kWholeLife;
  uint64_t first_life_ = 0;
  std::vector<std::string> ids_;
  int64_t life_begun_ns_ = 0;

  Step step_ = Step::kPutInput;
  int64_t step_begun_ns_ = 0;
  std::optional<grpc::ClientContext> context_;
  grpc::Status status_;
  Rpc<v1::PutInputsRequest, v1::PutInputsResponse> put_inputs_;
  Rpc<v1::GetInputsRequest, v1::GetInputsResponse> get_inputs_;
  Rpc<v1::PutOutputsRequest, v1::PutOutputsResponse> put_outputs_;
  Rpc<v1::ClaimOutputsRequest, v1::ClaimOutputsResponse> claim_;
  Rpc<v1::AckOutputsRequest, v1::AckOutputsResponse> ack_;

  struct Claim {
    std::string token;
    uint64_t fence;
    uint32_t crc32c;
  };
  std::vector<Claim> claims_;  // of the first calls of the batch, in its order
};

}  // namespace mayfly::peers
