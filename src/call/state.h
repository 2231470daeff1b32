// The state of one call, without its payloads.
//
// A call consists of rows: an input, an output, a tombstone. Each is written once and removed once.
// The state of the call is the set of rows that exist, plus the claim, which is in memory only; a
// restart releases it. Times are Unix milliseconds in the steady time of base/now.h, except those
// of a claim, which are in its elapsed time.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <utility>

#include "base/call_id.h"
#include "base/slot_ref.h"
#include "base/tenant.h"

namespace mayfly {

// Waiters, index, claims and rows are all keyed by call id and tenant. Equal ids of two tenants are
// two different calls, so no operation can probe another tenant's.
struct CallKey {
  CallId id;
  TenantNumber tenant{};

  friend bool operator==(const CallKey&, const CallKey&) = default;
  friend auto operator<=>(const CallKey&, const CallKey&) = default;
  template <typename H>
  friend H AbslHashValue(H state, const CallKey& key) {
    return H::combine(std::move(state), key.id, static_cast<uint32_t>(key.tenant));
  }
};

enum class PayloadKind : uint8_t { kInput = 1, kOutput = 2 };

// HMAC over the payload's CRC-32C, size and metadata, with a key that is destroyed with its slot.
struct Fingerprint : std::array<uint8_t, 16> {};

struct StoredPayload {
  SlotRef slot;
  uint32_t attempt = 0;  // outputs: 1 and up; inputs: 0
  uint64_t size_bytes = 0;
  int64_t stored_ms = 0;
  int64_t deadline_ms = 0;     // readable before it, not at it
  uint32_t segment_count = 0;  // 0: the row holds the payload itself
  uint32_t hour_key = 0;       // the number of the key that it is sealed under (keys/keyring.h)
  // The slot was overwritten or the due second closed, and the row is still there.
  bool erased = false;
  bool damaged = false;  // the slot's secret is lost, although it was not erased
  Fingerprint fingerprint{};

  friend bool operator==(const StoredPayload&, const StoredPayload&) = default;
};

// Identifies an upload within its tenant; chosen by the client.
struct UploadId : std::array<uint8_t, 16> {
  template <typename H>
  friend H AbslHashValue(H state, const UploadId& id) {
    return H::combine_contiguous(std::move(state), id.data(), id.size());
  }
};

struct ClaimToken : std::array<uint8_t, 16> {};
struct TokenHash : std::array<uint8_t, 16> {};  // SHA-256 of a claim token, truncated

enum class EndReason : uint8_t { kConsumed = 1, kDeleted = 2, kExpired = 3 };

// The record of an ended call, with which its tenant can ask how it ended.
struct Tombstone {
  EndReason reason = EndReason::kConsumed;
  int64_t ended_ms = 0;
  int64_t forget_ms = 0;  // from here on the call is unknown
  TokenHash token{};      // of the acking claim; zeros unless consumed
  // These slots are erased again at start, because a crash may have happened between the tombstone
  // and the erasure.
  SlotRef input;
  SlotRef output;

  friend bool operator==(const Tombstone&, const Tombstone&) = default;
};

// The exclusive, leased right to retrieve an output.
struct Claim {
  ClaimToken token{};
  TokenHash token_hash{};
  uint64_t fence = 0;  // boot number in the upper 24 bits, then a counter; only increases
  // In elapsed time, so that the length of a lease does not depend on changes of a clock.
  int64_t claimed_ms = 0;
  int64_t lease_end_ms = 0;  // the output can be claimed again from here on
  uint32_t uses = 1;         // number of claims with the same token, and renewals
  // CRC-32C of the output's data, once it was sent under this claim.
  std::optional<uint32_t> crc32c = std::nullopt;

  friend bool operator==(const Claim&, const Claim&) = default;
};

struct CallState {
  std::optional<StoredPayload> input;
  std::optional<StoredPayload> output;
  std::optional<Tombstone> tombstone;
  std::optional<Claim> claim;

  friend bool operator==(const CallState&, const CallState&) = default;
};

}  // namespace mayfly
