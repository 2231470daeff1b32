#include "sim/simulation.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "base/crc32c.h"

namespace mayfly::sim {
namespace {

constexpr int kLivesMax = 4;
constexpr int kEventsMax = 120;
constexpr int64_t kSecondMs = 1000;
constexpr int64_t kMinuteMs = 60 * kSecondMs;
constexpr int64_t kTickMs = 100;
constexpr size_t kInFlightMax = 3;  // of one call

// Mostly small, now and then with segments.
std::string DataOf(uint32_t content) {
  std::string data = absl::StrCat("content ", content, " ");
  data.resize(content % 16 == 7 ? 70'000 : 20 + content % 50, 'x');
  return data;
}

uint32_t ContentIn(absl::string_view data) {
  uint32_t content = 0;
  for (const char c : data.substr(8, data.find(' ', 8) - 8)) {
    content = 10 * content + static_cast<uint32_t>(c - '0');
  }
  return DataOf(content) == data ? content : UINT32_MAX;
}

ClaimToken TokenOf(uint32_t number) { return ClaimToken{static_cast<uint8_t>(number), 0xC1}; }

}  // namespace

Simulation::Simulation(uint64_t seed, bool traces)
    : traces_(traces), dice_(seed), machine_(seed, &dice_), calls_(kCalls) {
  machine_.OnDisk([this] {
    if (dice_.OneIn(2)) return machine_.RunSomething();
    AskSomething();
  });
}

SimulationReport Simulation::Run() {
  for (size_t call = 0; call < kCalls; ++call) ReplaceCall(call);
  const int64_t lives = dice_.Between(1, kLivesMax);
  while (static_cast<int64_t>(life_) < lives && !has_failed()) RunLife();
  return std::move(report_);
}

void Simulation::RunLife() {
  ++life_;
  if (dice_.OneIn(6)) machine_.FailAfter(dice_.Between(0, 8));  // during the start
  while (!machine_.Start()) {
    Note("the start was cut off");
    machine_.Crash();
  }
  Note(absl::StrCat("life ", life_));
  if (dice_.OneIn(2)) Tick();
  JudgeWhatWasTold();
  if (dice_.OneIn(2) && !has_failed()) LookAtAll();
  if (dice_.OneIn(2)) machine_.FailAfter(dice_.Between(0, 120));
  machine_.FailReads(dice_.OneIn(5));
  const int64_t events = dice_.Between(10, kEventsMax);
  int64_t after_failure = dice_.Between(0, 5);
  for (int64_t i = 0; i < events && !has_failed(); ++i) {
    if (machine_.disk_has_failed() && after_failure-- <= 0) break;
    DoSomething();
    JudgeWhatWasTold();
  }
  if (has_failed()) return;
  if (machine_.disk_has_failed()) {
    // Upkeep looks at the disk's health before all else.
    if (!machine_.has_failed()) Tick();
    JudgeWhatWasTold();
    if (!machine_.has_failed()) return Fail("the disk has failed, and the process does not end");
  } else if (dice_.OneIn(3)) {
    machine_.FailAfter(-1);
    machine_.FailReads(false);
    ComeToRest();
    if (!has_failed() && dice_.OneIn(2)) return Restart();
  }
  if (!has_failed()) Crash();
}

void Simulation::DoSomething() {
  const int64_t dice = dice_.Between(0, 99);
  if (dice < 42) return AskSomething();
  if (dice < 88) return machine_.RunSomething();
  if (dice < 96) {
    const int64_t kind = dice_.Between(0, 19);
    if (kind >= 17) {
      // Whatever the dice say, the sweep comes by every second, and what no answer waits for is synced.
      for (int round = 0; round < 2; ++round) {
        Advance(kSecondMs);
        Tick();
        JudgeWhatWasTold();
      }
      (void)machine_.storage()->Sync();  // as upkeep would a second later
    }
    return Advance(kind < 10   ? dice_.Between(1, 200)
                   : kind < 17 ? dice_.Between(200, 20 * kSecondMs)
                   : kind < 19 ? dice_.Between(kMinuteMs, 4 * kMinuteMs)
                               : dice_.Between(5 * kMinuteMs, 40 * kMinuteMs));
  }
  if (dice < 97) return ReplaceCall(static_cast<size_t>(dice_.Between(0, kCalls - 1)));
  Note("tick");
  Tick();
}

// ---- What clients ask

void Simulation::ReplaceCall(size_t number) {
  Call& call = calls_[number];
  if (call.judge.pending_count() > 0) return;
  uint8_t random[10] = {};
  StoreBigEndian(random + 2, ++ids_ * 0x9e3779b97f4a7c15);
  const int64_t skew_ms = dice_.OneIn(8) ? dice_.Between(-7 * kMinuteMs, 7 * kMinuteMs) : 0;
  call = Call{.id = CallId::Mint(absl::FromUnixMillis(machine_.now_ms() + skew_ms), random)};
  Note(absl::StrCat("call ", number, " is another"));
}

Operation Simulation::Invent(size_t number, Kind kind) {
  Call& call = calls_[number];
  Operation operation{.number = ++last_number_, .kind = kind, .id_time_ms = call.id.time_ms()};
  operation.token = static_cast<uint32_t>(dice_.Between(1, 3));
  operation.lease_ms = dice_.Between(1, 40) * kSecondMs;
  const int64_t ttls_ms[] = {kSecondMs, 20 * kSecondMs, 5 * kMinuteMs, 60 * kMinuteMs};
  operation.payload = {.put = operation.number,
                       .content = static_cast<uint32_t>(dice_.OneIn(4) ? dice_.Between(1, 40) : 1),
                       .attempt = 0,
                       .deadline_ms = machine_.now_ms() + ttls_ms[dice_.Between(0, 3)]};
  if (kind == Kind::kPutOutput) {
    operation.payload.attempt = static_cast<uint32_t>(dice_.OneIn(2) ? 1 : dice_.Between(1, 3));
  }
  if (kind == Kind::kClaim && dice_.OneIn(3)) {
    operation.wait_until_ms = machine_.now_ms() + dice_.Between(1, 50) * kSecondMs;
  }
  const bool names_claim = kind == Kind::kAck || kind == Kind::kRelease || kind == Kind::kRenew;
  if (names_claim && !call.claims.empty()) {
    const auto last = static_cast<int64_t>(call.claims.size()) - 1;
    const auto& claim =
        call.claims[static_cast<size_t>(dice_.OneIn(4) ? dice_.Between(0, last) : last)];
    operation.token = claim.first;
    operation.fence = claim.second;
  }
  return operation;
}

std::vector<Simulation::Asked> Simulation::InventBatch(Kind kind) {
  std::vector<Asked> asked;
  const int64_t count = kind == Kind::kClaim ? 1 : dice_.OneIn(3) ? dice_.Between(1, kCalls) : 1;
  const auto first = static_cast<size_t>(dice_.Between(0, kCalls - 1));
  for (int64_t i = 0; i < count; ++i) {
    const size_t call = (first + static_cast<size_t>(i)) % kCalls;
    if (calls_[call].judge.pending_count() >= kInFlightMax) continue;
    asked.push_back({.call = call, .operation = Invent(call, kind), .life = life_});
    // A request has one lease for all its claims.
    asked.back().operation.lease_ms = asked[0].operation.lease_ms;
  }
  return asked;
}

void Simulation::AskSomething() {
  if (machine_.is_crashing() || has_failed()) return;
  const int64_t dice = dice_.Between(0, 99);
  const Kind kind = dice < 20   ? Kind::kPutInput
                    : dice < 42 ? Kind::kPutOutput
                    : dice < 62 ? Kind::kClaim
                    : dice < 75 ? Kind::kAck
                    : dice < 80 ? Kind::kRelease
                    : dice < 85 ? Kind::kRenew
                    : dice < 91 ? Kind::kGetInput
                    : dice < 96 ? Kind::kDescribe
                                : Kind::kDelete;
  std::vector<Asked> asked = InventBatch(kind);
  if (asked.empty()) return;
  // The network may bring it twice.
  std::vector<Asked> again;
  if (dice_.OneIn(10)) {
    for (const Asked& each : asked) {
      if (calls_[each.call].judge.pending_count() + 2 > kInFlightMax) continue;
      again.push_back(each);
      again.back().operation.number = ++last_number_;
      // What it stores is the same, whichever of the two is decided first.
      again.back().operation.payload.put = again.back().operation.number;
    }
  }
  Ask(std::move(asked));
  if (!again.empty()) Ask(std::move(again));
}

void Simulation::Ask(std::vector<Asked> asked) {
  for (const Asked& each : asked) {
    Note(absl::StrCat("call ", each.call, " <- ", Describe(each.operation)));
    calls_[each.call].judge.Invoke(each.operation);
    in_flight_[each.operation.number] = each;
    in_flight_[each.operation.number].asked_ms = machine_.now_ms();
  }
  Submit(std::move(asked));
}

// ---- What the store is asked

std::vector<CallId> Simulation::IdsOf(const std::vector<Asked>& asked) const {
  std::vector<CallId> ids;
  for (const Asked& each : asked) ids.push_back(calls_[each.call].id);
  return ids;
}

void Simulation::Submit(std::vector<Asked> asked) {
  CallStore* const store = machine_.store();
  Tenant* const tenant = machine_.tenant();
  const std::vector<CallId> ids = IdsOf(asked);
  switch (asked[0].operation.kind) {
    case Kind::kPutInput:
    case Kind::kPutOutput:
      return SubmitPuts(asked);
    case Kind::kClaim:
      return SubmitClaim(asked[0]);
    case Kind::kAck:
    case Kind::kRelease:
    case Kind::kRenew:
      return SubmitClaimRefs(asked);
    case Kind::kGetInput:
      store->GetInputs(tenant, ids, UINT64_MAX, [this, asked](std::vector<InputResult> results) {
        for (size_t i = 0; i < results.size(); ++i) {
          Told told{.number = asked[i].operation.number, .status = results[i].status};
          if (results[i].payload) told.reply.content = ContentIn(results[i].payload->data);
          Hear(asked[i].life, std::move(told));
        }
      });
      return;
    case Kind::kDescribe:
      store->DescribeCalls(tenant, ids, [this, asked](std::vector<DescribeResult> results) {
        for (size_t i = 0; i < results.size(); ++i) {
          Told told{.number = asked[i].operation.number, .status = results[i].status};
          told.reply.phase = results[i].phase;
          Hear(asked[i].life, std::move(told));
        }
      });
      return;
    case Kind::kDelete:
      store->DeleteCalls(tenant, ids, [this, asked](std::vector<EndResult> results) {
        for (size_t i = 0; i < results.size(); ++i) {
          Told told{.number = asked[i].operation.number, .status = results[i].status};
          told.reply.ended_ms = results[i].ended_ms;
          Hear(asked[i].life, std::move(told));
        }
      });
      return;
  }
}

void Simulation::SubmitPuts(const std::vector<Asked>& asked) {
  std::vector<NewPut> puts;
  std::vector<std::string> data;
  for (const Asked& each : asked) data.push_back(DataOf(each.operation.payload.content));
  for (size_t i = 0; i < asked.size(); ++i) {
    const Operation& operation = asked[i].operation;
    NewPut put{
        .call_id = calls_[asked[i].call].id,
        .kind = operation.kind == Kind::kPutInput ? PayloadKind::kInput : PayloadKind::kOutput,
        .attempt = operation.payload.attempt,
        .payload = {.data = data[i], .metadata = {}},
        .ttl_ms = operation.payload.deadline_ms - machine_.now_ms()};
    put.payload.metadata.crc32c = Crc32c(AsBytes(data[i]));
    puts.push_back(std::move(put));
  }
  machine_.store()->Put(
      machine_.tenant(), std::move(puts), [this, asked](std::vector<PutResult> results) {
        for (size_t i = 0; i < results.size(); ++i) {
          Told told{.number = asked[i].operation.number, .status = results[i].status};
          told.reply.deadline_ms = results[i].deadline_ms;
          Hear(asked[i].life, std::move(told));
        }
      });
}

void Simulation::SubmitClaim(const Asked& asked) {
  const Operation& operation = asked.operation;
  ClaimRequest request{.call_ids = {calls_[asked.call].id},
                       .count_max = 1,
                       .bytes_max = UINT64_MAX,
                       .lease_ms = operation.lease_ms,
                       .token = TokenOf(operation.token)};
  if (operation.wait_until_ms > 0) request.wait_ms = operation.wait_until_ms - machine_.now_ms();
  machine_.store()->ClaimOutputs(
      machine_.tenant(), std::move(request), [this, asked](ClaimResponse response) {
        Told told{.number = asked.operation.number, .status = response.status};
        if (!response.outputs.empty()) {
          const ClaimedOutput& output = response.outputs[0];
          told.reply.content = output.payload ? ContentIn(output.payload->data) : UINT32_MAX;
          told.reply.lease_end_ms = output.lease_end_ms;
          told.fence = output.fence;
        } else if (!response.ended.empty()) {
          told.status = response.ended[0].status;
        } else if (response.status.ok()) {
          told.reply.pending = true;
        }
        Hear(asked.life, std::move(told));
      });
}

void Simulation::SubmitClaimRefs(const std::vector<Asked>& asked) {
  CallStore* const store = machine_.store();
  Tenant* const tenant = machine_.tenant();
  std::vector<ClaimRef> claims;
  for (const Asked& each : asked) {
    claims.push_back({.call_id = calls_[each.call].id,
                      .token = TokenOf(each.operation.token),
                      .fence = each.operation.fence,
                      .crc32c = std::nullopt});
  }
  const auto hear = [this, asked](size_t i, absl::Status status, Reply reply) {
    Hear(asked[i].life,
         {.number = asked[i].operation.number, .status = std::move(status), .reply = reply});
  };
  if (asked[0].operation.kind == Kind::kAck) {
    return store->AckOutputs(tenant, claims, [hear](std::vector<EndResult> results) {
      for (size_t i = 0; i < results.size(); ++i) {
        hear(i, results[i].status, {.ended_ms = results[i].ended_ms});
      }
    });
  }
  if (asked[0].operation.kind == Kind::kRelease) {
    return store->ReleaseOutputs(tenant, claims, [hear](std::vector<absl::Status> results) {
      for (size_t i = 0; i < results.size(); ++i) hear(i, results[i], {});
    });
  }
  // One lease for all.
  store->RenewClaims(tenant, claims, asked[0].operation.lease_ms,
                     [hear](std::vector<RenewResult> results) {
                       for (size_t i = 0; i < results.size(); ++i) {
                         hear(i, results[i].status, {.lease_end_ms = results[i].lease_end_ms});
                       }
                     });
}

// ---- What comes back

void Simulation::Hear(uint64_t life, Told told) {
  if (machine_.is_crashing() || life != life_) return;
  CheckErasure(told);
  told_.push_back(std::move(told));
}

// What an ack or a delete promises holds when it is answered, and not only at rest.
void Simulation::CheckErasure(const Told& told) {
  const auto found = in_flight_.find(told.number);
  if (!told.status.ok() || found == in_flight_.end()) return;
  const Asked& asked = found->second;
  if (asked.operation.kind != Kind::kAck && asked.operation.kind != Kind::kDelete) return;
  const CallKey key = {.id = calls_[asked.call].id, .tenant = TenantNumber{1}};
  if (!machine_.disk()->HasSecretOfEnded(key)) return;
  Fail(absl::StrCat("call ", asked.call, ": ", Describe(asked.operation),
                    " is answered, and the payload may still be read"));
}

void Simulation::JudgeWhatWasTold() {
  // In an order of our own: callbacks of claims that end together come in any.
  std::vector<Told> heard = std::exchange(told_, {});
  std::sort(heard.begin(), heard.end(),
            [](const Told& a, const Told& b) { return a.number < b.number; });
  for (Told& told : heard) {
    const auto found = in_flight_.find(told.number);
    if (found == in_flight_.end())
      return Fail(absl::StrCat("#", told.number, " is answered twice"));
    const Asked asked = found->second;
    Call& call = calls_[asked.call];
    told.reply.code = told.status.code();
    told.reply.reason = ReasonOf(told.status);
    Note(absl::StrCat("call ", asked.call, " -> #", told.number, " ", Describe(told.reply),
                      " fence ", told.fence));
    // The disk has failed: nobody knows, until the process has ended.
    const bool is_down = told.reply.reason == Reason::kStorageDown;
    if (is_down && machine_.disk_has_failed()) continue;
    ++report_.answers;
    in_flight_.erase(found);
    const bool is_claim = asked.operation.kind == Kind::kClaim;
    // A read has failed. An output that was claimed is released then.
    if (is_claim && is_down && machine_.a_read_has_failed()) {
      call.judge.Forget(told.number, machine_.now_ms());
      continue;
    }
    if (is_down && machine_.a_read_has_failed()) {
      if (call.judge.Refuse(told.number, machine_.now_ms())) continue;
      return Fail(absl::StrCat("call ", asked.call, ": ", Describe(asked.operation),
                               " was decided, and then refused"));
    }
    const std::string before = traces_ ? call.judge.Describe() : "";
    if (!call.judge.Answer(told.number, told.reply, told.fence, machine_.now_ms())) {
      return Fail(absl::StrCat("call ", asked.call, ": ", Describe(asked.operation),
                               " cannot be answered by ", Describe(told.reply), " fence ",
                               told.fence, " ", told.status.message(), "\n", before));
    }
    // Or the reply is lost on its way.
    if (told.fence != 0 && !dice_.OneIn(8)) {
      call.claims.push_back({asked.operation.token, told.fence});
    }
  }
}

void Simulation::Tick() { machine_.Tick(); }

void Simulation::Advance(int64_t ms) {
  Note(absl::StrCat("time goes by: ", ms, " ms"));
  for (Call& call : calls_) call.judge.BeforeTimePasses(machine_.now_ms());
  machine_.Advance(ms);
}

// ---- Ends

void Simulation::Crash() {
  JudgeWhatWasTold();
  if (has_failed()) return;
  ++report_.crashes;
  ++life_;
  machine_.Crash();
  --life_;
  Note("crash");
  for (Call& call : calls_) {
    call.judge.Crash(machine_.now_ms());
    call.claims.clear();
  }
  in_flight_.clear();
  told_.clear();
}

void Simulation::Restart() {
  Note("restart");
  for (Call& call : calls_) call.judge.Drain();
  machine_.Stop();
  JudgeWhatWasTold();
  if (has_failed()) return;
  if (!in_flight_.empty()) return Fail("a store that has ended owes an answer");
  for (Call& call : calls_) {
    call.judge.Crash(machine_.now_ms());
    call.claims.clear();
  }
}

void Simulation::LookAtAll() {
  for (const Kind kind : {Kind::kDescribe, Kind::kGetInput}) {
    std::vector<Asked> asked;
    for (size_t call = 0; call < kCalls; ++call) {
      if (calls_[call].judge.pending_count() >= kInFlightMax) continue;
      asked.push_back({.call = call, .operation = Invent(call, kind), .life = life_});
    }
    if (!asked.empty()) Ask(std::move(asked));
    machine_.RunAll();
    JudgeWhatWasTold();
    if (has_failed()) return;
  }
}

void Simulation::ComeToRest() {
  Note("rest");
  machine_.RunAll();
  JudgeWhatWasTold();
  // Long enough for a sweep, and now and then for leases to lapse.
  Advance(1100 + (dice_.OneIn(3) ? dice_.Between(20, 45) * kSecondMs : 0));
  Tick();
  machine_.RunAll();
  Tick();
  machine_.RunAll();
  JudgeWhatWasTold();
  if (has_failed()) return;
  for (const auto& [number, asked] : in_flight_) {
    const Operation& operation = asked.operation;
    // Timers are up to a tick late, those of leases too.
    if (operation.wait_until_ms + kTickMs <= machine_.now_ms()) {
      return Fail(absl::StrCat(Describe(operation), " is not answered"));
    }
    if (calls_[asked.call].judge.IsReadyForCertain(machine_.now_ms(), kTickMs)) {
      return Fail(absl::StrCat(Describe(operation), " waits for an output that is there\n",
                               calls_[asked.call].judge.Describe()));
    }
  }
  LookAtAll();
  if (!has_failed()) CheckSecrets();
  if (!has_failed()) CheckUsage();
}

void Simulation::CheckSecrets() {
  // The second that is just over, which ended with all that was due in it.
  const int64_t over_s = machine_.now_ms() / kSecondMs;
  if (machine_.storage()->keyring()->NumberFor(over_s).ok()) {
    return Fail(absl::StrCat("second ", over_s, " is over and can still be sealed under"));
  }
  // What expired was overwritten, and opens nothing any more: the next sync makes it durable.
  machine_.disk()->SyncWrittenSlots();
  const std::vector<SlotRef> unnamed = machine_.disk()->SecretsWithoutRow();
  if (unnamed.empty()) return;
  Fail(absl::StrCat("slot ", unnamed[0].slot, " generation ", unnamed[0].generation,
                    " may still be read, and its payload has ended"));
}

void Simulation::CheckUsage() {
  std::set<CallKey> calls;
  int64_t bytes = 0;
  (void)machine_.storage()->VisitPayloads([&](const DuePayload& payload) {
    calls.insert(payload.key);
    bytes += static_cast<int64_t>(payload.size_bytes);
  });
  int64_t recorded_calls = 0;
  int64_t recorded_bytes = 0;
  const auto usage = machine_.storage()->LoadUsage();
  if (!usage.ok()) return Fail("usage cannot be read");
  for (const TenantUsage& used : *usage) {
    recorded_calls += used.live_calls;
    recorded_bytes += used.live_bytes;
  }
  const int64_t counted_calls = machine_.tenant()->ledger.live_calls();
  const int64_t counted_bytes = machine_.tenant()->ledger.live_bytes();
  const auto call_count = static_cast<int64_t>(calls.size());
  if (call_count == recorded_calls && call_count == counted_calls && bytes == recorded_bytes &&
      bytes == counted_bytes) {
    return;
  }
  Fail(absl::StrCat("usage: rows of ", call_count, " calls with ", bytes, " bytes, recorded ",
                    recorded_calls, " with ", recorded_bytes, ", counted ", counted_calls, " with ",
                    counted_bytes));
}

void Simulation::Note(const std::string& text) {
  if (traces_) report_.trace.push_back(absl::StrCat(machine_.now_ms() % 100'000'000, " ", text));
}

void Simulation::Fail(const std::string& text) {
  if (!has_failed()) report_.failure = text;
}

}  // namespace mayfly::sim
