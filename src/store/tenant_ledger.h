// A TenantLedger counts what one tenant uses and what its requests in flight have reserved, and holds
// its limits.
//
//   taken = used + reserved        calls, bytes, uploads and claims; compared with the limits
//   live                           calls and bytes of answered changes; reported, never compared
//
// A put takes what it may add before any work is done for it (quota.h). When it is stored, the rows
// that it adds are used and no longer reserved: nothing is counted twice in between, and `taken` does
// not change. So no number of concurrent puts, on any number of shards, exceeds a limit.
//
// The limits are one immutable value that may be replaced while requests run. Lowering a limit refuses
// what comes next and takes nothing away. Thread-safe; taking is one atomic addition, or a
// compare-and-swap where there is a limit.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "base/published.h"
#include "store/rate_bucket.h"

namespace mayfly {

// 0 means no limit where it says so.
struct QuotaLimits {
  uint64_t live_calls_max = 0;             // 0: none
  uint64_t live_bytes_max = 0;             // 0: none
  uint64_t operations_per_second_max = 0;  // 0: none
  uint64_t claims_max = 0;
  uint64_t uploads_max = 0;
  uint64_t stream_subscriptions_max = 0;  // of each stream

  friend bool operator==(const QuotaLimits&, const QuotaLimits&) = default;
};

// Rows of calls, or a change of them.
struct RowCount {
  int64_t calls = 0;
  int64_t bytes = 0;  // of payloads, in plaintext

  bool empty() const { return calls == 0 && bytes == 0; }
  friend RowCount operator-(const RowCount& a, const RowCount& b) {
    return {.calls = a.calls - b.calls, .bytes = a.bytes - b.bytes};
  }
};

class TenantLedger;

// An outstanding claim, as long as it lasts. An empty one holds nothing: the limit was reached.
class ClaimLease {
 public:
  ClaimLease() = default;
  explicit ClaimLease(TenantLedger* ledger) : ledger_(ledger) {}
  ClaimLease(ClaimLease&& other) noexcept : ledger_(std::exchange(other.ledger_, nullptr)) {}
  ClaimLease& operator=(ClaimLease&& other) noexcept {
    std::swap(ledger_, other.ledger_);
    return *this;
  }
  ~ClaimLease();

  bool empty() const { return ledger_ == nullptr; }

 private:
  TenantLedger* ledger_ = nullptr;
};

class TenantLedger {
 public:
  explicit TenantLedger(const QuotaLimits& limits = {}) : limits_(limits) {}

  // Those in force. The reference stays valid as long as the ledger.
  const QuotaLimits& limits() const { return limits_.Get(); }
  void SetLimits(const QuotaLimits& limits) { limits_.Set(limits); }

  // Takes all of it or nothing: RESOURCE_EXHAUSTED (QUOTA_CALLS, QUOTA_BYTES).
  absl::Status Take(const RowCount& rows);
  // Adds to what is taken, or gives back, whatever the limits say.
  void Add(const RowCount& rows);

  // RESOURCE_EXHAUSTED (QUOTA_UPLOADS).
  absl::Status TakeUpload();
  void AddUploads(int64_t count) { uploads_.fetch_add(count, std::memory_order_relaxed); }

  // Empty at the limit: RESOURCE_EXHAUSTED (QUOTA_CLAIMS), as ClaimRefusal says.
  ClaimLease TakeClaim();
  static absl::Status ClaimRefusal(uint64_t claims_max, absl::Duration retry_delay);
  // How many more the limit allows; below zero when it was lowered.
  int64_t claims_left() const { return static_cast<int64_t>(limits().claims_max) - claims(); }

  // Whether one stream may wait for so many calls.
  bool AllowsSubscriptions(uint64_t count) const {
    return count <= limits().stream_subscriptions_max;
  }

  // RESOURCE_EXHAUSTED (QUOTA_RATE). `now` is a monotonic time, which is not looked at without a limit.
  bool has_rate_limit() const { return limits().operations_per_second_max != 0; }
  absl::Status TakeOperations(int64_t count, absl::Duration now);

  // A change was answered, or a start has found rows.
  void AddLive(const RowCount& rows);

  int64_t live_calls() const { return live_calls_.load(std::memory_order_relaxed); }
  int64_t live_bytes() const { return live_bytes_.load(std::memory_order_relaxed); }
  int64_t taken_calls() const { return calls_.load(std::memory_order_relaxed); }
  int64_t taken_bytes() const { return bytes_.load(std::memory_order_relaxed); }
  int64_t uploads() const { return uploads_.load(std::memory_order_relaxed); }
  int64_t claims() const { return claims_.load(std::memory_order_relaxed); }

 private:
  friend class ClaimLease;

  Published<QuotaLimits> limits_;
  // Taken.
  std::atomic<int64_t> calls_{0};
  std::atomic<int64_t> bytes_{0};
  std::atomic<int64_t> uploads_{0};
  std::atomic<int64_t> claims_{0};
  std::atomic<int64_t> live_calls_{0};
  std::atomic<int64_t> live_bytes_{0};
  RateBucket operations_;
};

inline ClaimLease::~ClaimLease() {
  if (ledger_ != nullptr) ledger_->claims_.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace mayfly
