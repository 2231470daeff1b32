#include "rpc/grpc_log.h"

#include <atomic>

#include <grpc/support/log.h>

namespace mayfly {
namespace {

std::atomic<Log*> g_log{nullptr};  // gRPC's hook carries no context

// A refused handshake is an error to gRPC; to the server it is somebody else's mistake.
void WriteGrpcLine(gpr_log_func_args* args) {
  const Config::LogLevel level = args->severity == GPR_LOG_SEVERITY_ERROR
                                     ? Config::LogLevel::kWarning
                                     : Config::LogLevel::kDebug;
  Log* const log = g_log.load(std::memory_order_acquire);
  if (log == nullptr || !log->Shows(level)) return;
  log->Write(level, "grpc", {{"text", absl::string_view(args->message)}});
}

}  // namespace

void SendGrpcLogTo(Log* log) {
  g_log.store(log, std::memory_order_release);
  gpr_set_log_function(WriteGrpcLine);
}

}  // namespace mayfly
