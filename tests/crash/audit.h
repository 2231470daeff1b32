// Compares a killed and restarted server with the models, call by call.
//
// Every read goes through the public RPCs: inputs are got, outputs are claimed (and given back).
// This decides every uncertain result. Then ends are repeated: an ack or a delete that happened
// must give the same answer, and an ack that did not happen must not succeed now, with a claim from
// before the restart.
#pragma once

#include <cstdint>
#include <vector>

#include "crash/findings.h"
#include "crash/model.h"
#include "e2e/test_client.h"
#include "support/test_server.h"

namespace mayfly {

class Audit {
 public:
  Audit(const TestServer& server, Findings* findings);

  // Afterwards every call is settled.
  void Check(const std::vector<CallModel*>& calls);
  // Deletes what is live. Afterwards every call has ended, but for those that expire by themselves.
  void EndAll(const std::vector<CallModel*>& calls);

  uint64_t checked_count() const { return checked_count_; }

 private:
  using Batch = std::vector<CallModel*>;

  void CheckBatch(const Batch& batch);
  std::vector<Look> LookAtInputs(const Batch& batch);
  std::vector<Look> LookAtOutputs(const Batch& batch);
  void Settle(CallModel* call, const Look& input, const Look& output);
  void RepeatAcks(const Batch& batch);
  void RepeatDeletes(const Batch& batch);
  void CheckRepetition(CallModel* call, const std::string& summary, absl::Time erased);

  TestClient client_;
  TestClient worker_;
  Findings* const findings_;
  uint64_t checked_count_ = 0;
};

}  // namespace mayfly
