// The rules of retrieval: a pure function from a call's state and one operation to the next state.
//
//   Applied a = Apply(state, operation, context);
//   // a.result goes to the caller, a.effects to storage, a.state replaces state
//
// No I/O, no clock, no lock, no randomness. Every rule about attempts, claims, fences, tombstones
// and deadlines is here and nowhere else. A rejected operation leaves the state unchanged.
//
//            PutInput            PutOutput             Claim              Ack
//   unknown ----------> pending ----------> ready <-----------> claimed -----> consumed
//                          |                  |    lapse,          |
//                          |                  |    release         |
//                          +------------------+--------------------+---> deleted, expired
//
// The rules, with the error reasons of the wire:
//   * A payload past its deadline does not exist, whether it was swept or not. The end of an output
//     ends its call; the end of an input ends a call without output.
//   * Reads, including claims, reject a payload when either clock is past its deadline
//     (now.read_ms); expiry destroys it when both are (now.erase_ms). Tombstones use steady time,
//     leases use elapsed time.
//   * Puts are idempotent: the same id and content is OK, also after the call was consumed. A
//     different content is CALL_CONFLICT or OUTPUT_CONFLICT. A put whose content cannot be compared
//     gets the error of the comparison.
//   * A payload with a damaged secret exists but cannot be read: reads, claims and repeated puts
//     get DATA_LOSS. It ends like others, and a higher attempt replaces it.
//   * An upload may start if its put would be accepted, as far as that can be decided without the
//     content. Its end, after the last segment, is decided like that put, with two differences: the
//     id window is not asked again, and nothing is stored when the call has ended since the upload
//     started, because the call's uploads ended with it (UPLOAD_UNKNOWN).
//   * An output needs a live input, unless the same output already exists. A higher attempt
//     replaces an unclaimed output; a lower one is STALE_ATTEMPT; a claimed output is
//     OUTPUT_CLAIMED.
//   * A claim is idempotent by its token. Only the current token and fence, within the lease, may
//     ack, release or renew; anything else is CLAIM_LOST. If an ack has the CRC-32C of the data
//     received, it must equal that of the data sent under the claim, else CHECKSUM_MISMATCH.
//   * An ack is idempotent by its token while the tombstone lasts.
//   * The time in a new call's id must be within the id window, which is shorter than the life of a
//     tombstone, so that no late retry revives an ended call. Ids at or below the floor had left
//     the window before it was widened, and stay outside. A tombstone lasts as long as the setting
//     in force when it was written, or the current one, whichever is longer. While it exists, no
//     input of its call is stored. An upload may take longer than the window: its id is checked
//     when it starts.
#pragma once

#include <cstdint>

#include "base/now.h"
#include "call/operation.h"
#include "call/state.h"

namespace mayfly {

struct ApplyContext {
  Now now;
  // The tenant's retention. A payload ends at its deadline, max_ttl after it was stored, or at once
  // if it was stored at or before dead_before, whichever is first.
  int64_t max_ttl_ms = 0;
  int64_t dead_before_ms = 0;
  int64_t tombstone_ttl_ms = 0;    // how long an ended call is remembered
  int64_t id_window_ms = 0;        // maximum distance of a new call's id time from now
  int64_t id_floor_ms = 0;         // a new call's id must be younger; before now
  int64_t lease_total_max_ms = 0;  // maximum time from claim to lease end with all renewals
};

struct Applied {
  CallState state;
  OperationResult result;
  Effects effects;
};

Applied Apply(const CallState& state, const Operation& operation, const ApplyContext& context);

// The now.read_ms from which on the payload may not be read.
int64_t ReadableUntilMs(const StoredPayload& payload, const ApplyContext& context);

// Whether the payload may be read. Check again when its bytes are fetched, which is later.
bool IsReadable(const StoredPayload& payload, const ApplyContext& context);

// Whether the sweeper may erase the payload.
bool IsErasable(const StoredPayload& payload, const ApplyContext& context);

// Whether the claim's lease has expired, so that the output may be claimed again.
bool HasLapsed(const Claim& claim, const Now& now);

}  // namespace mayfly
