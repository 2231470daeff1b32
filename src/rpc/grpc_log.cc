#include "rpc/grpc_log.h"

#include <atomic>
#include <chrono>
#include <utility>

#include <grpc/support/log.h>

#include "base/mutex.h"

namespace mayfly {
namespace {

struct Lines {
  Mutex mutex;
  LineLimit limit GUARDED_BY(mutex);
};

std::atomic<Log*> g_log{nullptr};  // gRPC's hook carries no context

Lines& SharedLines() {
  static auto* const lines = new Lines;
  return *lines;
}

void WriteLeftOut(int64_t left_out, Log* log) {
  if (left_out == 0) return;
  log->Write(Config::LogLevel::kWarning, "further lines of grpc were suppressed",
             {{"lines_left_out", left_out}});
}

// gRPC logs a rejected handshake as an error, but it is the client's mistake, not the server's.
void WriteGrpcLine(gpr_log_func_args* args) {
  const Config::LogLevel level = args->severity == GPR_LOG_SEVERITY_ERROR
                                     ? Config::LogLevel::kWarning
                                     : Config::LogLevel::kDebug;
  Log* const log = g_log.load(std::memory_order_acquire);
  if (log == nullptr || !log->Shows(level)) return;
  int64_t left_out = 0;
  bool may_write = false;
  {
    Lines& lines = SharedLines();
    MutexLock lock(&lines.mutex);
    const absl::Duration now =
        absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
    left_out = lines.limit.LeftOut(now);
    may_write = lines.limit.Take(now);
  }
  WriteLeftOut(left_out, log);
  if (may_write) log->Write(level, "grpc", {{"text", absl::string_view(args->message)}});
}

}  // namespace

bool LineLimit::Take(absl::Duration now) {
  if (now - since_ >= kInterval) {
    since_ = now;
    lines_ = 0;
  }
  const bool may_write = lines_ < kLinesMax;
  (may_write ? lines_ : left_out_) += 1;
  return may_write;
}

int64_t LineLimit::LeftOut(absl::Duration now) {
  return now - since_ >= kInterval ? std::exchange(left_out_, 0) : 0;
}

void SendGrpcLogTo(Log* log) {
  Log* const last = g_log.exchange(log, std::memory_order_acq_rel);
  gpr_set_log_function(WriteGrpcLine);
  Lines& lines = SharedLines();
  MutexLock lock(&lines.mutex);
  const int64_t left_out = lines.limit.LeftOut(absl::InfiniteDuration());
  lines.limit = LineLimit();
  if (last != nullptr) WriteLeftOut(left_out, last);
}

}  // namespace mayfly
