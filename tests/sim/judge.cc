#include "sim/judge.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"

namespace mayfly::sim {

// Every order in which what is in flight may have been decided by now.
void CallJudge::Expand(int64_t now_ms) {
  std::deque<World> open(worlds_.begin(), worlds_.end());
  while (!open.empty()) {
    const World world = std::move(open.front());
    open.pop_front();
    for (const auto& [number, operation] : pending_) {
      const bool is_decided =
          std::any_of(world.decided.begin(), world.decided.end(),
                      [number = number](const Decided& each) { return each.number == number; });
      if (is_decided) continue;
      for (Outcome& outcome : Decide(world.call, operation, now_ms)) {
        World next = world;
        if (outcome.call != next.call) next.changes.push_back({number, outcome.call});
        next.call = std::move(outcome.call);
        next.decided.push_back({.number = number,
                                .reply = outcome.reply,
                                .claim = outcome.claim,
                                .changes = next.changes.size()});
        std::sort(next.decided.begin(), next.decided.end());
        if (worlds_.insert(next).second) open.push_back(std::move(next));
      }
    }
    for (World& next : AfterReading(world, now_ms)) {
      if (worlds_.insert(next).second) open.push_back(std::move(next));
    }
    if (world.call.claim && unread_claims_.contains(world.call.claim->made_by)) {
      World next = world;
      next.call.claim.reset();
      if (worlds_.insert(next).second) open.push_back(std::move(next));
    }
  }
}

std::vector<CallJudge::World> CallJudge::AfterReading(const World& world, int64_t now_ms) const {
  std::vector<World> worlds;
  for (size_t i = 0; i < world.decided.size(); ++i) {
    const Decided& decided = world.decided[i];
    const Operation& operation = pending_.at(decided.number);
    if (operation.kind != Kind::kClaim || decided.reply.content == 0) continue;
    const auto may_say = [&](const Reply& reply) {
      World next = world;
      next.decided[i].reply = reply;
      next.decided[i].claim = 0;
      next.decided[i].changes = next.changes.size();
      worlds.push_back(std::move(next));
    };
    for (const Outcome& outcome : Decide(world.call, operation, now_ms)) {
      if (outcome.reply.content == 0) may_say(outcome.reply);
    }
    const std::optional<ModelClaim>& claim = world.call.claim;
    if (!claim || claim->made_by != decided.claim || claim->lease_end_ms <= now_ms) {
      may_say({.pending = true});
    }
  }
  return worlds;
}

void CallJudge::MakeStand(size_t change_count, World* world) {
  if (change_count == 0) return;
  world->standing = world->changes[change_count - 1].after;
  world->changes.erase(world->changes.begin(),
                       world->changes.begin() + static_cast<ptrdiff_t>(change_count));
  for (Decided& decided : world->decided) {
    decided.changes -= std::min(decided.changes, change_count);
  }
}

void CallJudge::BindFence(uint64_t claim, uint64_t fence, World* world) {
  const auto bind = [&](ModelCall* call) {
    if (call->claim && call->claim->made_by == claim) call->claim->fence = fence;
  };
  bind(&world->call);
  bind(&world->standing);
  for (Change& change : world->changes) bind(&change.after);
}

bool CallJudge::Answer(uint64_t number, const Reply& reply, uint64_t fence, int64_t now_ms) {
  Expand(now_ms);
  const Operation operation = pending_.at(number);
  if (operation.kind == Kind::kRenew) fence = operation.fence;
  pending_.erase(number);
  std::set<World> left;
  std::set<uint64_t> claims;
  for (World world : worlds_) {
    const auto decided = std::find_if(world.decided.begin(), world.decided.end(),
                                      [&](const Decided& each) { return each.number == number; });
    if (decided == world.decided.end()) continue;
    const Decided told = *decided;
    world.decided.erase(decided);
    if (told.reply != reply) continue;
    if (told.claim != 0) {
      const auto known = fence_of_claim_.find(told.claim);
      const bool is_new = known == fence_of_claim_.end();
      if (is_new ? fence == 0 || fences_.contains(fence) : known->second != fence) continue;
      claims.insert(told.claim);
      BindFence(told.claim, fence, &world);
    }
    // A get looks at what is written, whether it is on the disk or not.
    if (operation.kind != Kind::kGetInput) MakeStand(told.changes, &world);
    left.insert(std::move(world));
  }
  worlds_ = std::move(left);
  if (claims.size() == 1) {
    fence_of_claim_[*claims.begin()] = fence;
    fences_.insert(fence);
  }
  return !worlds_.empty();
}

bool CallJudge::Refuse(uint64_t number, int64_t now_ms) {
  Expand(now_ms);
  pending_.erase(number);
  std::erase_if(worlds_, [number](const World& world) {
    return std::any_of(world.decided.begin(), world.decided.end(),
                       [number](const Decided& each) { return each.number == number; });
  });
  return !worlds_.empty();
}

void CallJudge::Forget(uint64_t number, int64_t now_ms) {
  Expand(now_ms);
  if (pending_.at(number).kind == Kind::kClaim) unread_claims_.insert(number);
  pending_.erase(number);
  std::set<World> left;
  for (World world : worlds_) {
    std::erase_if(world.decided, [number](const Decided& each) { return each.number == number; });
    left.insert(std::move(world));
  }
  worlds_ = std::move(left);
}

void CallJudge::Drain() {
  for (auto& [number, operation] : pending_) {
    if (operation.wait_until_ms != 0) operation.wait_until_ms = 1;
  }
}

void CallJudge::Crash(int64_t now_ms) {
  Expand(now_ms);
  std::set<World> left;
  const auto keep = [&](ModelCall call) {
    call.claim.reset();
    left.insert(World{.call = call, .standing = call});
  };
  for (const World& world : worlds_) {
    keep(world.standing);
    for (const Change& change : world.changes) {
      const ModelCall& call = change.after;
      keep(call);
      // Its row is there and its slot is not, which a replacement excludes.
      ModelCall less = call;
      if (call.input != world.standing.input && !world.standing.input) less.input.reset();
      if (less != call) keep(less);
      if (call.output == world.standing.output || world.standing.output) continue;
      less.output.reset();
      keep(less);
      less.input = call.input;
      keep(less);
    }
  }
  worlds_ = std::move(left);
  pending_.clear();
  unread_claims_.clear();
}

bool CallJudge::IsReadyForCertain(int64_t now_ms, int64_t lapse_late_ms) const {
  return std::all_of(worlds_.begin(), worlds_.end(), [=](const World& world) {
    const ModelCall& call = world.call;
    const bool is_claimed = call.claim && call.claim->lease_end_ms + lapse_late_ms > now_ms;
    return call.output && call.output->deadline_ms > now_ms && !is_claimed;
  });
}

std::string CallJudge::Describe() const {
  std::string text;
  for (const auto& [number, operation] : pending_) {
    absl::StrAppend(&text, "  in flight: ", sim::Describe(operation), "\n");
  }
  for (const World& world : worlds_) {
    absl::StrAppend(&text, "  world: ", sim::Describe(world.call), "\n");
    for (const Decided& decided : world.decided) {
      absl::StrAppend(&text, "    decided: #", decided.number, " ", sim::Describe(decided.reply),
                      "\n");
    }
  }
  return text;
}

}  // namespace mayfly::sim
