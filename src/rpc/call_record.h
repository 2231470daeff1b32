// A CallRecord stands for one RPC between its arrival and its end: it counts as in flight, and leaves
// a line in the log at level debug.
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
  // All outlive it.
  CallRecord(Rpc rpc, InFlight* in_flight, Log* log, Clock* clock);
  ~CallRecord() { in_flight_->Leave(); }
  CallRecord(const CallRecord&) = delete;
  CallRecord& operator=(const CallRecord&) = delete;

  // Who is calling.
  void set_tenant(const std::string& name) { tenant_ = name; }

  // The line. `item_count` is of whatever the RPC is about.
  void Write(const grpc::Status& status, int64_t item_count) const;

  Log* log() const { return log_; }

 private:
  const Rpc rpc_;
  InFlight* const in_flight_;
  Log* const log_;
  Clock* const clock_;
  const bool is_logged_;
  const absl::Duration begun_;  // of the clock's boottime; only if logged
  std::string tenant_;
};

}  // namespace mayfly
