// One thread of the load: it puts, replaces, claims, acks and deletes its own calls in batches
// until the server is killed, and updates their models from the answers.
//
// A call has one operation under way at most, so a kill leaves one in doubt. The calls of several
// loads meet in the server's commits, not in the models. Not thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "crash/findings.h"
#include "crash/model.h"
#include "e2e/test_client.h"
#include "support/test_server.h"

namespace mayfly {

class Load {
 public:
  // `calls` are live and settled. `is_killed` turns true before the server is killed: only then
  // may an RPC fail.
  Load(const TestServer& server, uint64_t seed, std::vector<std::unique_ptr<CallModel>> calls,
       const std::atomic<bool>* is_killed, Findings* findings);

  // Returns when an RPC has failed, or once the server is killed.
  void Run();

  // All calls, those that have ended included.
  std::vector<std::unique_ptr<CallModel>> TakeCalls() { return std::move(calls_); }
  uint64_t answered_count() const { return answered_count_; }
  uint64_t unanswered_count() const { return unanswered_count_; }

 private:
  // An operation on one call: what it leaves if it happens.
  struct Step {
    CallModel* call;
    World after;
  };
  template <typename Request, typename Response>
  using Rpc = grpc::Status (v1::FunctionIo::Stub::*)(grpc::ClientContext*, const Request&,
                                                     Response*);

  // Each does one batch and returns false when an RPC failed.
  bool PutNewCalls();
  bool PutOutputs(bool only_short_lived);
  bool RepeatInputs();
  bool Retrieve();
  bool Delete();

  bool Ack(const std::string& token, const v1::ClaimOutputsResponse& claimed,
           const std::vector<CallModel*>& calls);
  bool Release(const std::string& token, const v1::ClaimOutputsResponse& claimed);

  template <typename Request, typename Response>
  bool Call(v1::FunctionIo::Stub* stub, Rpc<Request, Response> rpc, const Request& request,
            Response* response);
  // Sends a request with one item per step, and draws the models' conclusions. `refine` adds to a
  // world what a result tells.
  template <typename Request, typename Response, typename Refine>
  bool Change(v1::FunctionIo::Stub* stub, Rpc<Request, Response> rpc, const Request& request,
              std::vector<Step> steps, const Refine& refine);

  std::vector<CallModel*> Pick(size_t count_max, const std::function<bool(CallModel&)>& wanted);
  Content NewContent();
  StoredContent NewStored(const CallModel& call, uint32_t attempt, int ttl_s);
  size_t Random(size_t below) { return random_() % below; }

  TestClient client_;
  TestClient worker_;
  std::mt19937_64 random_;
  std::vector<std::unique_ptr<CallModel>> calls_;
  const std::atomic<bool>* const is_killed_;
  Findings* const findings_;
  uint64_t answered_count_ = 0;
  uint64_t unanswered_count_ = 0;
};

}  // namespace mayfly
