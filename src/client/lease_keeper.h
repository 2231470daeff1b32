// A LeaseKeeper renews one claim for as long as it lives.
//
// It renews when a third of the lease has passed, so that a renewal that fails can be repeated
// before the lease ends. The core's thread does the work, and may end a renewal after this is gone.
#pragma once

#include <memory>

#include "absl/time/time.h"

#include "client/core.h"
#include "mayfly/call.h"

namespace mayfly::client {

class LeaseKeeper {
 public:
  LeaseKeeper(std::shared_ptr<Core> core, Claim claim, absl::Duration lease);
  ~LeaseKeeper();
  LeaseKeeper(const LeaseKeeper&) = delete;
  LeaseKeeper& operator=(const LeaseKeeper&) = delete;

 private:
  class Renewals;
  const std::shared_ptr<Renewals> renewals_;
};

}  // namespace mayfly::client
