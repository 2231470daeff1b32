// The rules of retrieval: a pure function from a call's state and one operation to the next state.
//
//   Applied a = Apply(state, operation, context);
//   // a.result goes to the caller, a.effects to storage, a.state replaces state
//
// No I/O, no clock, no lock, no randomness: every rule about attempts, claims, fences, tombstones
// and deadlines is here and nowhere else. A refused operation leaves the state as it was.
//
//            PutInput            PutOutput             Claim              Ack
//   unknown ----------> pending ----------> ready <-----------> claimed -----> consumed
//                          |                  |    lapse,          |
//                          |                  |    release         |
//                          +------------------+--------------------+---> deleted, expired
//
// The rules, in the words of the wire's error reasons:
//   * Past its time a payload is not there, whether the sweep has come by or not. An output's end
//     ends its call; an input's end ends a call that has no output.
//   * Reads, claims included, refuse a payload as soon as either clock says so (now.read_ms);
//     expiry destroys it when both do (now.erase_ms). Tombstones run on steady time, leases on
//     elapsed time.
//   * Puts are idempotent: same id and content is OK, also when the call was consumed since.
//     Another content is CALL_CONFLICT or OUTPUT_CONFLICT.
//   * A payload whose secret is damaged is there and cannot be read: reads, claims and puts in its
//     place are told DATA_LOSS. It ends as others do, and a higher attempt replaces it.
//   * An upload may begin when its put would be taken as far as that can be told without the content;
//     the put is decided when all has come.
//   * An output needs a live input, unless it is there already. A higher attempt replaces an
//     unclaimed output; a lower one is STALE_ATTEMPT; a claimed output is OUTPUT_CLAIMED.
//   * A claim is idempotent by its token. Only the current token and fence, within the lease, may
//     ack, release or renew; anything else is CLAIM_LOST. An ack that names the CRC-32C of what
//     was received must name that of what was sent under the claim, else CHECKSUM_MISMATCH.
//   * An ack is idempotent by its token as long as the tombstone lasts.
//   * A new call's id must have been minted within the id window, which is shorter than the life
//     of a tombstone: so no late retry can revive a call that has ended. Ids at or below the floor
//     left the window before it was widened, and stay outside. A tombstone lasts as long as the
//     setting says that was in force when it was written or the one in force now, whichever is
//     longer; and as long as it is there no input of its call is put. An upload may take longer
//     than the window: its id is judged when it begins, and again at the end if its call has ended
//     meanwhile.
#pragma once

#include <cstdint>

#include "base/now.h"
#include "call/operation.h"
#include "call/state.h"

namespace mayfly {

struct ApplyContext {
  Now now;
  // The tenant's retention: a payload is past its time at its deadline, max_ttl after it was
  // stored, or when it was stored at or before dead_before, whichever is first.
  int64_t max_ttl_ms = 0;
  int64_t dead_before_ms = 0;
  int64_t tombstone_ttl_ms = 0;    // how long an ended call is remembered
  int64_t id_window_ms = 0;        // how far the time in a new call's id may be from now
  int64_t id_floor_ms = 0;         // a new call's id must be younger than this; it lies before now
  int64_t lease_total_max_ms = 0;  // how far renewals may stretch a claim, from when it was made
};

struct Applied {
  CallState state;
  OperationResult result;
  Effects effects;
};

Applied Apply(const CallState& state, const Operation& operation, const ApplyContext& context);

// From when on, by now.read_ms, the payload may not be read any more.
int64_t ReadableUntilMs(const StoredPayload& payload, const ApplyContext& context);

// True when the payload may be read. Asked again when its bytes are fetched, which is later.
bool IsReadable(const StoredPayload& payload, const ApplyContext& context);

// True when the sweeper may have the payload erased.
bool IsErasable(const StoredPayload& payload, const ApplyContext& context);

// True when the claim's lease has run out, so that the output may be claimed anew.
bool HasLapsed(const Claim& claim, const Now& now);

}  // namespace mayfly
