// A CallRecord covers one RPC from its arrival to its end: it counts the RPC as in flight, and
// writes a log line at level debug.
#pragma once

#include <string>

#include "absl/time/time.h"
#include <grpcpp/support/status.h>

#include "base/clock.h"
#include "rpc/access.h"
#include "rpc/in_flight.h"
#include "rpc/log.h"

namespace mayfly {

class CallRecord {
 public:
  // All must outlive this object.
  CallRecord(Rpc rpc, InFlight* in_flight, Log* log, Clock* clock);
  ~CallRecord() { in_flight_->Leave(); }
  CallRecord(const CallRecord&) = delete;
  CallRecord& operator=(const CallRecord&) = delete;

  // Sets the caller's tenant.
  void set_tenant(const std::string& name) { tenant_ = name; }

  // Writes the line. `item_count` is the number of items that the RPC processed.
  void Write(const grpc::Status& status, int64_t item_count) const;

  Log* log() const { return log_; }

 private:
  const Rpc rpc_;
  InFlight* const in_flight_;
  Log* const log_;
  Clock* const clock_;
  const bool is_logged_;
  const absl::Duration begun_;  // the clock's boottime; set only if logged
  std::string tenant_;
};

}  // namespace mayfly
