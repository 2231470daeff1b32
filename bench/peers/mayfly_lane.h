// A MayflyLane runs the lives of one batch of calls after another, one request at a time: each an
// RPC of its own, or all on the sessions that the lane shares with others.
//
// The flow of a life is in Begin and Continue of the .cc, and nowhere else. Each step runs on the gRPC
// thread that brought the answer to the one before; two never run at once.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include "mayfly_channels.h"
#include "mayfly_session.h"
#include "meter.h"
#include "workload.h"

namespace mayfly::peers {

// To one role of the server.
struct Link {
  Stub* stub = nullptr;
  MayflySession* session = nullptr;  // null: every request is an RPC of its own
};

struct Connection {
  Link client;
  Link worker;
};

// Which part of its life a lane takes a batch through.
enum class Part { kWholeLife, kPutInputs, kPutOutputs, kTakeOutputs };

class MayflyLane {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    // The batch is through. May begin the next; the lane is not touched any more otherwise.
    virtual void OnBatchEnd(MayflyLane* lane) = 0;
  };

  // All outlive the lane.
  MayflyLane(const Workload& workload, const PayloadPool* pool, const Connection* connection,
             Owner* owner, Window* window)
      : workload_(workload), pool_(pool), connection_(connection), owner_(owner), meter_(window) {}

  // Sends the first request of a batch; lives are numbered from `first_life`, new ids are minted.
  void Begin(Part part, uint64_t first_life);
  void Begin(Part part, uint64_t first_life, std::vector<std::string> ids);
  // When acks ride: sends those that no next batch will take along, and ends like a batch. False
  // when there are none.
  bool SendLastAcks();

  const Meter& meter() const { return meter_; }

 private:
  template <typename Request, typename Response>
  struct Rpc {
    Request request;
    Response of_unary;
    // While the step ends. Without results when the session sent one of another kind.
    const Response* response = nullptr;
  };

  // Takes up the answer to a step, and starts the next. False when the batch is through.
  bool Continue();

  void PutInputs();
  void GetInputs();
  void PutOutputs();
  void ClaimOutputs();
  void AckOutputs();
  void CheckInputs();
  void TakeClaims();
  void KeepAcks();
  void TakeRiddenAcks();
  void EndLives(size_t count, int64_t begun_ns);
  void FillAcks(google::protobuf::RepeatedPtrField<v1::AckItem>* acks);

  template <typename Request, typename Response>
  using Method = void (v1::FunctionIo::StubInterface::async_interface::*)(
      grpc::ClientContext*, const Request*, Response*, std::function<void(grpc::Status)>);
  template <typename Request, typename Response>
  void Send(Step step, const Link& link, Method<Request, Response> method,
            Rpc<Request, Response>* rpc);
  template <typename Results>
  void CheckResults(const Results& results) const;
  void EndStep(const grpc::Status& status);

  const Workload& workload_;
  const PayloadPool* const pool_;
  const Connection* const connection_;
  Owner* const owner_;
  Meter meter_;

  Part part_ = Part::kWholeLife;
  uint64_t first_life_ = 0;
  std::vector<std::string> ids_;
  int64_t life_begun_ns_ = 0;

  Step step_ = Step::kPutInput;
  int64_t step_begun_ns_ = 0;
  std::optional<grpc::ClientContext> context_;
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

  // Of the batch before, to ride on the claim of this one.
  google::protobuf::RepeatedPtrField<v1::AckItem> kept_acks_;
  int64_t kept_begun_ns_ = 0;
};

}  // namespace mayfly::peers
