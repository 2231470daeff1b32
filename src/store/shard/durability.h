// Which operations wait for the disk, and for what on it.
#pragma once

#include <variant>

#include "call/operation.h"

namespace mayfly {

inline bool IsPut(const Operation& operation) { return PayloadOf(operation) != nullptr; }

// Ends the call, or a payload of it: secrets are overwritten.
inline bool IsEnd(const Operation& operation) {
  return std::holds_alternative<AckOutput>(operation) ||
         std::holds_alternative<DeleteCall>(operation) ||
         std::holds_alternative<ExpirePayload>(operation);
}

// Whether a group with this operation may have to wait for the disk.
inline bool MaySync(const Operation& operation, bool sync_puts) {
  if (IsPut(operation) && sync_puts) return true;
  // A later attempt may replace an output, whose secret must outlive the decision.
  const StoredPayload* const payload = PayloadOf(operation);
  return IsEnd(operation) || (payload != nullptr && payload->attempt > 1);
}

// Whether a removed secret may be overwritten before the decision is on the disk. If a loss of
// power then takes the decision, the erased slot still says that the payload has ended, but no
// longer how. An expired one cannot have ended otherwise. With relaxed durability the last second
// of decisions may be lost anyway, and an erasure that waits for the log would wait for all of its
// unsynced puts. An output that another replaces was acknowledged, and must not be lost.
inline bool MayEraseFirst(const Operation& operation, bool sync_puts) {
  if (std::holds_alternative<ExpirePayload>(operation)) return true;
  return !sync_puts && IsEnd(operation);
}

}  // namespace mayfly
