// A ClaimTable knows which outputs of a shard's calls are claimed, by whom, and until when.
//
// A call has at most one claim. The rules decide about claims (call/apply.h); Update makes the
// table agree with what they decided. A claim may have a holder, with whose end it ends.
//
// Add, Update, Find, NoteSent and SetHolder are O(1); TakeLapsed costs what it returns,
// ReplaceHolder what it changes. Holds no row, owns
// no thread and reads no clock: times are elapsed time, in milliseconds. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"

#include "base/now.h"
#include "call/operation.h"
#include "call/state.h"
#include "retention/timer_wheel.h"
#include "store/tenant_ledger.h"

namespace mayfly {

class Claimant;

// An output on its way to the holder of a claim.
struct SentOutput {
  CallKey key;
  uint64_t fence = 0;
  uint32_t crc32c = 0;  // of its data
};

class ClaimTable {
 public:
  // How many leases one TakeLapsed looks at.
  static constexpr size_t kLapsesMax = 4096;

  explicit ClaimTable(int64_t start_ms) : wheel_({.start_ms = start_ms}) {}

  // Null when the call's output is not claimed.
  const Claim* Find(const CallKey& key) const;

  // The call has a new claim, as the rules decided, in place of one that it may have had. The lease
  // of the tenant's quota lasts as long as the claim.
  void Add(const CallKey& key, const Claim& claim, ClaimLease quota);
  // Replaces the call's claim `before` by `after`, as the rules decided: the same one renewed, or
  // none. True when the call had a claim and has none any more.
  bool Update(const CallKey& key, const std::optional<Claim>& before,
              const std::optional<Claim>& after);

  // The ack of the claim is compared with this checksum from now on. Does nothing when the call has
  // another claim by now.
  void NoteSent(const SentOutput& sent);

  // The call is claimed, and its claim ends with the holder, which is not dereferenced.
  void SetHolder(const CallKey& key, const Claimant* holder);
  // The claims of a holder go on with another, or null: without one.
  void ReplaceHolder(const Claimant* holder, const Claimant* by);
  // Ends the claims of a holder. Returns their calls.
  std::vector<CallKey> EndClaimsOf(const Claimant* holder);

  // Ends claims whose lease has run out, up to kLapsesMax at a time. Returns their calls.
  std::vector<CallKey> TakeLapsed(const Now& now);

  size_t size() const { return claims_.size(); }
  // Whether there are leases that may run out.
  bool has_timers() const { return wheel_.size() > 0; }

 private:
  struct Record {
    Claim claim;
    ClaimLease quota;
    std::optional<TimerWheel::Handle> timer;
    const Claimant* holder = nullptr;
  };

  void Erase(const CallKey& key);
  void ScheduleLapse(Record* record, int64_t now_ms);
  void ForgetHolder(const Record& record);

  TimerWheel wheel_;  // of fences
  absl::flat_hash_map<CallKey, Record> claims_;
  absl::flat_hash_map<uint64_t, CallKey> key_by_fence_;
  absl::flat_hash_map<const Claimant*, absl::flat_hash_set<uint64_t>> fences_by_holder_;
};

}  // namespace mayfly
