#include "store/tenant_ledger.h"

#include "absl/strings/str_cat.h"

#include "base/error.h"

namespace mayfly {
namespace {

// How long a client that was refused for lack of quota waits before it retries.
constexpr absl::Duration kQuotaRetryDelay = absl::Seconds(1);

// Adds `more` unless that exceeds `limit`, 0 for none. Nothing is added in between, so that a request
// that is refused never gets another one refused.
bool TryAdd(std::atomic<int64_t>* count, int64_t more, uint64_t limit) {
  if (limit == 0) {
    count->fetch_add(more, std::memory_order_relaxed);
    return true;
  }
  int64_t before = count->load(std::memory_order_relaxed);
  do {
    if (before + more > static_cast<int64_t>(limit)) return false;
  } while (!count->compare_exchange_weak(before, before + more, std::memory_order_relaxed));
  return true;
}

absl::Status Exhausted(Reason reason, absl::string_view name, int64_t would_be, uint64_t limit,
                       absl::Duration retry_delay = kQuotaRetryDelay) {
  return WithRetryDelay(MakeError(absl::StatusCode::kResourceExhausted, reason,
                                  absl::StrCat(name, " would be ", would_be, ", limit is ", limit)),
                        retry_delay);
}

}  // namespace

absl::Status TenantLedger::Take(const RowCount& rows) {
  const QuotaLimits& limits = this->limits();
  if (rows.calls != 0 && !TryAdd(&calls_, rows.calls, limits.live_calls_max)) {
    return Exhausted(Reason::kQuotaCalls, "live_calls", taken_calls() + rows.calls,
                     limits.live_calls_max);
  }
  if (!TryAdd(&bytes_, rows.bytes, limits.live_bytes_max)) {
    Add({.calls = -rows.calls});
    return Exhausted(Reason::kQuotaBytes, "live_bytes", taken_bytes() + rows.bytes,
                     limits.live_bytes_max);
  }
  return absl::OkStatus();
}

void TenantLedger::Add(const RowCount& rows) {
  if (rows.calls != 0) calls_.fetch_add(rows.calls, std::memory_order_relaxed);
  if (rows.bytes != 0) bytes_.fetch_add(rows.bytes, std::memory_order_relaxed);
}

absl::Status TenantLedger::TakeUpload() {
  const uint64_t limit = limits().uploads_max;
  // Here 0 is a limit too.
  int64_t before = uploads();
  do {
    if (before >= static_cast<int64_t>(limit)) {
      return Exhausted(Reason::kQuotaUploads, "uploads under way", before + 1, limit);
    }
  } while (!uploads_.compare_exchange_weak(before, before + 1, std::memory_order_relaxed));
  return absl::OkStatus();
}

ClaimLease TenantLedger::TakeClaim() {
  const auto limit = static_cast<int64_t>(limits().claims_max);
  int64_t before = claims();
  do {
    if (before >= limit) return ClaimLease();
  } while (!claims_.compare_exchange_weak(before, before + 1, std::memory_order_relaxed));
  return ClaimLease(this);
}

absl::Status TenantLedger::ClaimRefusal(uint64_t claims_max, absl::Duration retry_delay) {
  return Exhausted(Reason::kQuotaClaims, "outstanding claims", static_cast<int64_t>(claims_max + 1),
                   claims_max, retry_delay);
}

absl::Status TenantLedger::TakeOperations(int64_t count, absl::Duration now) {
  const uint64_t rate = limits().operations_per_second_max;
  if (rate == 0 || count == 0) return absl::OkStatus();
  return operations_.Take(rate, static_cast<uint64_t>(count), now);
}

void TenantLedger::AddLive(const RowCount& rows) {
  if (rows.calls != 0) live_calls_.fetch_add(rows.calls, std::memory_order_relaxed);
  if (rows.bytes != 0) live_bytes_.fetch_add(rows.bytes, std::memory_order_relaxed);
}

}  // namespace mayfly
