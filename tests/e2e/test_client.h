// Helper for RPCs in tests: one call, one answer, errors as "CODE REASON".
#pragma once

#include <memory>
#include <string>

#include "absl/time/time.h"
#include <google/protobuf/timestamp.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/channel.h>
#include <grpcpp/support/status.h>

#include "mayfly/v1/function_io.grpc.pb.h"

namespace mayfly {

// "OK", or the canonical code and the reason: "NOT_FOUND CALL_UNKNOWN".
std::string Summary(const google::rpc::Status& status);
std::string Summary(const grpc::Status& status);

inline absl::Time TimeOf(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

std::string NewCallId();
// Sixteen bytes, another sixteen each time.
std::string NewClaimToken();

// One tenant's client or worker. Every RPC fails when it takes longer than 30 s.
class TestClient {
 public:
  explicit TestClient(const std::shared_ptr<grpc::Channel>& channel);

  // Runs one RPC: Call(&Stub::PutInputs, request, &response).
  template <typename Request, typename Response>
  grpc::Status Call(grpc::Status (v1::FunctionIo::Stub::*rpc)(grpc::ClientContext*, const Request&,
                                                              Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    Prepare(&context);
    return (stub_.get()->*rpc)(&context, request, response);
  }

  // The item's status, or else the RPC's.
  std::string PutInput(const std::string& call_id, const std::string& data);
  std::string PutOutput(const std::string& call_id, const std::string& data);
  std::string GetInput(const std::string& call_id, std::string* data);
  // The first output of the answer; `ended` gets the status when the call has ended instead, and
  // stays empty when nothing is there.
  std::string Claim(const std::string& call_id, const std::string& token, v1::ClaimedOutput* output,
                    std::string* ended, int wait_s = 0);
  std::string Ack(const std::string& call_id, const std::string& token, uint64_t fence);
  std::string Release(const std::string& call_id, const std::string& token, uint64_t fence);
  std::string Delete(const std::string& call_id);
  v1::CallDescription Describe(const std::string& call_id);

  v1::FunctionIo::Stub* stub() { return stub_.get(); }

 private:
  static void Prepare(grpc::ClientContext* context);

  const std::unique_ptr<v1::FunctionIo::Stub> stub_;
};

}  // namespace mayfly
