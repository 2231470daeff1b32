#include "rpc/call_record.h"

namespace mayfly {

CallRecord::CallRecord(Rpc rpc, InFlight* in_flight, Log* log, Clock* clock)
    : rpc_(rpc),
      in_flight_(in_flight),
      log_(log),
      clock_(clock),
      is_logged_(log->Shows(Config::LogLevel::kDebug)),
      begun_(is_logged_ ? clock->Read().boottime : absl::ZeroDuration()) {
  in_flight_->Enter();
}

void CallRecord::Write(const grpc::Status& status, int64_t item_count) const {
  if (!is_logged_) return;
  log_->Write(Config::LogLevel::kDebug, "rpc",
              {{"rpc", RpcName(rpc_)},
               {"tenant", absl::string_view(tenant_)},
               {"items", item_count},
               {"code", status.error_code()},
               {"duration_us", absl::ToInt64Microseconds(clock_->Read().boottime - begun_)}});
}

}  // namespace mayfly
