// A CallJudge decides whether the answers about one call can be right.
//
// Requests are in flight together, so nobody outside knows in which order the store has decided them.
// The judge keeps every world that explains all answers so far: the call, which of the requests in
// flight are decided in it and what their answers must be. An answer strikes out the worlds that it
// contradicts. When none is left the store has broken its word.
//
// A crash ends the requests in flight. What was answered stands; what was not may have happened or not,
// and of a change that was not answered a payload may be lost alone. Whoever was told of a change, but
// for a reader of the input, was told of one that stands.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "sim/model.h"

namespace mayfly::sim {

class CallJudge {
 public:
  void Invoke(const Operation& operation) { pending_[operation.number] = operation; }
  // False when no world is left. `fence` is that of the answer, 0 when it has none.
  bool Answer(uint64_t number, const Reply& reply, uint64_t fence, int64_t now_ms);
  // It was refused before anything was decided.
  bool Refuse(uint64_t number, int64_t now_ms);
  // Its answer says nothing.
  void Forget(uint64_t number, int64_t now_ms);
  // Call before the clock moves: what is in flight may have been decided by then.
  void BeforeTimePasses(int64_t now_ms) { Expand(now_ms); }
  // Claims that wait are told that there is nothing yet.
  void Drain();
  void Crash(int64_t now_ms);

  size_t pending_count() const { return pending_.size(); }
  bool IsPending(uint64_t number) const { return pending_.contains(number); }
  const std::map<uint64_t, Operation>& pending() const { return pending_; }
  size_t world_count() const { return worlds_.size(); }
  // In every world the output can be claimed by whoever waits for it, also if the end of a lease is
  // noticed that late.
  bool IsReadyForCertain(int64_t now_ms, int64_t lapse_late_ms) const;
  std::string Describe() const;

 private:
  struct Decided {
    uint64_t number = 0;
    Reply reply;
    uint64_t claim = 0;
    size_t changes = 0;  // of the world's, as many as came with or before it
    friend auto operator<=>(const Decided&, const Decided&) = default;
  };
  struct Change {
    uint64_t number = 0;
    ModelCall after;
    friend auto operator<=>(const Change&, const Change&) = default;
  };
  struct World {
    ModelCall call;
    ModelCall standing;            // as it was after the last change that stands
    std::vector<Change> changes;   // since, in order
    std::vector<Decided> decided;  // and not answered
    friend auto operator<=>(const World&, const World&) = default;
  };

  void Expand(int64_t now_ms);
  // An output is read after it was claimed, and by then its call may have ended, or the claim: then
  // another attempt may have taken the output's place. The worlds in which one of the claims in flight
  // has found that.
  std::vector<World> AfterReading(const World& world, int64_t now_ms) const;
  static void MakeStand(size_t change_count, World* world);
  static void BindFence(uint64_t claim, uint64_t fence, World* world);

  std::map<uint64_t, Operation> pending_;
  std::set<World> worlds_ = {World()};
  // Whose output could not be read: the store gives these claims back, sooner or later.
  std::set<uint64_t> unread_claims_;
  std::map<uint64_t, uint64_t> fence_of_claim_;  // as far as it is known which claim it was
  std::set<uint64_t> fences_;
};

}  // namespace mayfly::sim
