// A Simulation is one seed's story: clients, a store, its machine, and a judge who hears every answer.
//
// Clients put, claim, acknowledge, release, renew, describe and delete a handful of calls, in batches,
// again and again; requests and replies are lost, come twice and come late. Time goes by, payloads
// expire, the disk fails, the process is killed, the power goes. The judge (judge.h) says whether the
// answers can be right, and at rest it is looked at what is left on the disk:
//
//   * of a payload that has ended no loss of power may bring the secret back
//   * the usage counted, the usage recorded and the rows agree
//   * nobody waits for an output that is ready
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sim/judge.h"
#include "sim/machine.h"
#include "sim/model.h"

namespace mayfly::sim {

struct SimulationReport {
  std::string failure;             // empty: every promise was kept
  std::vector<std::string> trace;  // of what happened, if it was asked for
  uint64_t answers = 0;
  uint64_t crashes = 0;
};

class Simulation {
 public:
  Simulation(uint64_t seed, bool traces);
  SimulationReport Run();

 private:
  static constexpr int kCalls = 5;

  struct Call {
    CallId id;
    CallJudge judge;
    std::vector<std::pair<uint32_t, uint64_t>> claims;  // tokens and fences that clients know
    std::vector<uint64_t> waiting;                      // claims in flight that wait
  };
  struct Asked {
    size_t call = 0;
    Operation operation;
    uint64_t life = 0;
    int64_t asked_ms = 0;
  };
  struct Told {
    uint64_t number = 0;
    absl::Status status;
    Reply reply;
    uint64_t fence = 0;
  };

  void RunLife();
  void DoSomething();
  void AskSomething();
  void Ask(std::vector<Asked> asked);
  Operation Invent(size_t call, Kind kind);
  std::vector<Asked> InventBatch(Kind kind);
  void Hear(uint64_t life, Told told);
  void CheckErasure(const Told& told);
  void JudgeWhatWasTold();
  void Tick();
  void Advance(int64_t ms);
  void Crash();
  void Restart();
  void LookAtAll();
  void ComeToRest();
  void CheckSecrets();
  void CheckUsage();
  void ReplaceCall(size_t call);

  void Submit(std::vector<Asked> asked);
  void SubmitPuts(const std::vector<Asked>& asked);
  void SubmitClaim(const Asked& asked);
  void SubmitClaimRefs(const std::vector<Asked>& asked);
  std::vector<CallId> IdsOf(const std::vector<Asked>& asked) const;

  void Note(const std::string& text);
  void Fail(const std::string& text);
  bool has_failed() const { return !report_.failure.empty(); }

  const bool traces_;
  Dice dice_;
  Machine machine_;
  std::vector<Call> calls_;
  std::map<uint64_t, Asked> in_flight_;
  std::vector<Told> told_;
  uint64_t last_number_ = 0;
  uint64_t ids_ = 0;
  uint64_t life_ = 0;
  SimulationReport report_;
};

}  // namespace mayfly::sim
