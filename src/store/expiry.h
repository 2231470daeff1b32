// Expiry brings payloads that are due to the shards of their calls, which erase them. Thread-safe.
#pragma once

#include <vector>

#include "absl/types/span.h"

#include "retention/due.h"
#include "store/router.h"

namespace mayfly {

class Expiry : public ExpirySink {
 public:
  Expiry(const StoreContext& context, Router* router) : context_(context), router_(*router) {}

  // Returns when the batch is erased: a group has at most one batch of the sweep among its requests.
  // What comes back was refused because a shard's queue is full.
  std::vector<DuePayload> Expire(absl::Span<const DuePayload> due) override;

 private:
  const StoreContext& context_;
  Router& router_;
};

}  // namespace mayfly
