#include "rpc/server.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/impl/server_builder_plugin.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server_builder.h>
#include <sys/resource.h>

#include "base/check.h"
#include "base/error.h"
#include "base/notification.h"
#include "rpc/binary_metadata.h"
#include "rpc/connection_cut.h"
#include "rpc/grpc_log.h"
#include "rpc/http2_settings.h"
#include "rpc/tls.h"
#include "rpc/tls_guard.h"
#include "rpc/tls_refusals.h"

namespace mayfly {
namespace {

constexpr char kServiceName[] = "mayfly.v1.FunctionIo";
constexpr char kReflectionPlugin[] = "proto_server_reflection";
// A client that has vanished is detected after both of these times, which ends its long polls.
constexpr absl::Duration kPingIdleClientAfter = absl::Minutes(1);
// Four messages of the largest size that can be configured, and what a connection takes at rest.
constexpr uint64_t kReceivedMessageBytesMax = uint64_t{256} << 20;
constexpr uint64_t kConnectionBytes = 32 << 10;
constexpr absl::Duration kPingTimeout = absl::Seconds(20);
// How long idle connections get to close by themselves. A client that is busy elsewhere does not
// answer GOAWAY, and is not waited for.
constexpr absl::Duration kGoodbye = absl::Milliseconds(200);
// Connections that are still open after this are cut.
constexpr absl::Duration kCutAfter = absl::Milliseconds(500);

// The reflection library adds itself to every server in the process.
class WithoutReflection : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    plugins->erase(
        std::remove_if(plugins->begin(), plugins->end(),
                       [](const auto& plugin) { return plugin->name() == kReflectionPlugin; }),
        plugins->end());
  }
};

// What gRPC may hold for connections, calls, and the messages that it receives, all together. Above it
// gRPC ends calls, with RESOURCE_EXHAUSTED.
uint64_t ReceiveBytesMax(const Config::Server& server) {
  return kReceivedMessageBytesMax + server.connections_max * kConnectionBytes;
}

int Milliseconds(absl::Duration duration) {
  return static_cast<int>(absl::ToInt64Milliseconds(duration));
}

void SetArguments(const Config& config, grpc::ServerBuilder* builder) {
  const Config::Server& server = config.server;
  const auto set = [builder](const char* name, uint64_t value) {
    builder->AddChannelArgument(name, static_cast<int>(value));
  };
  builder->SetMaxReceiveMessageSize(static_cast<int>(config.limits.message_bytes_max));
  grpc::ResourceQuota quota("receive");
  quota.Resize(ReceiveBytesMax(server));
  builder->SetResourceQuota(quota);
  builder->SetMaxSendMessageSize(static_cast<int>(config.limits.message_bytes_max));
  set(GRPC_ARG_MAX_CONCURRENT_STREAMS, server.streams_per_connection_max);
  set(GRPC_ARG_MAX_METADATA_SIZE, server.metadata_bytes_max);
  set(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
      Milliseconds(server.keepalive_ping_min_interval));
  // Bounds the data that a stream may send ahead of its reader. Without it gRPC measures the
  // bandwidth and lets every stream fill it: eight uploads then hold 100 MiB, and are no faster.
  set(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  set(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kSegmentBytes);
  set(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  set(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(kPingIdleClientAfter));
  set(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(kPingTimeout));
  set(GRPC_ARG_MAX_CONNECTION_AGE_MS, Milliseconds(server.connection_age_max));
  set(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, Milliseconds(server.connection_age_grace));
  // The time until the TLS handshake is complete and the client's HTTP/2 settings have arrived.
  set(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, Milliseconds(server.handshake_timeout));
  // Per-call statistics for a debugging service that is not offered.
  set(GRPC_ARG_ENABLE_CHANNELZ, 0);
  set(GRPC_ARG_ENABLE_CENSUS, 0);
  // Compression off: secret payloads share messages with data chosen by others, so compressed sizes
  // would leak them (CRIME), and a small message could expand to a large one.
  builder->SetDefaultCompressionAlgorithm(GRPC_COMPRESS_NONE);
  builder->SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder->SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
}

void LogConnectionLimits(const Config::Server& config, const ConnectionLimits& limits, Log* log) {
  const uint64_t descriptors_max = OpenFilesMax();
  const std::string shortage = ConnectionShortage(config, limits, descriptors_max);
  log->Write(shortage.empty() ? Config::LogLevel::kInfo : Config::LogLevel::kWarning,
             shortage.empty() ? "connections" : absl::string_view(shortage),
             {{"open_files_max", static_cast<int64_t>(descriptors_max)},
              {"connections_max", static_cast<int64_t>(limits.proven_max)},
              {"before_first_call_max", static_cast<int64_t>(limits.unproven_max)},
              {"per_address_max", static_cast<int64_t>(limits.per_address_max)},
              {"per_tenant_max", static_cast<int64_t>(limits.per_tenant_max)}});
}

}  // namespace

uint64_t OpenFilesMax() {
  rlimit files = {};
  Check(getrlimit(RLIMIT_NOFILE, &files) == 0, "the limit of open files can be read");
  return files.rlim_cur;
}

Server::Server(const Config& config, const ConnectionLimits& limits, Log* log, Clock* clock)
    : connections_(limits),
      admission_(config, &connections_, clock),
      open_calls_(config.limits),
      service_(config, &admission_, &in_flight_, &open_streams_, &open_calls_, log, clock) {}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Config& config, Log* log,
                                                      Clock* clock) {
  // Deadlock detection takes another lock at every lock.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  SendGrpcLogTo(log);
  RETURN_IF_ERROR(ConfigureTls());
  RETURN_IF_ERROR(GuardFrames({.metadata_bytes_max = config.server.metadata_bytes_max,
                               .message_bytes_max = config.limits.message_bytes_max},
                              config.tls.trust_domain));
  RETURN_IF_ERROR(ExplainTlsRefusals());
  RETURN_IF_ERROR(
      SetHttp2Defaults(config.server.metadata_bytes_max, config.server.streams_per_connection_max));
  RETURN_IF_ERROR(TolerateMalformedBinaryMetadata());
  auto files = TlsFiles::Open(config.tls);
  if (!files.ok()) return files.status();
  const auto limits = ConnectionLimits::For(config.server, OpenFilesMax());
  if (!limits.ok()) return limits.status();
  auto listener = ConnectionListener::Open(config.server.listen);
  if (!listener.ok()) return listener.status();

  auto server = std::unique_ptr<Server>(new Server(config, *limits, log, clock));
  server->listener_ = *std::move(listener);
  server->tls_files_ = *std::move(files);
  if (absl::Status status = server->WatchCalls(log); !status.ok()) return status;
  grpc::EnableDefaultHealthCheckService(true);
  // This takes effect once per process, and must precede the builder's use of plugins.
  if (config.server.reflection) grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  SetArguments(config, &builder);
  if (!config.server.reflection) builder.SetOption(std::make_unique<WithoutReflection>());
  server->acceptor_ = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      MakeServerCredentials(*server->tls_files_));
  builder.RegisterService(&server->service_);
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr) return absl::FailedPreconditionError("gRPC failed to start");
  server->SetHealth(false);
  LogConnectionLimits(config.server, *limits, log);
  server->listener_->Start(
      &server->connections_, limits->descriptor_end,
      [acceptor = server->acceptor_.get()](int listening, int connection,
                                           const ConnectionPeer& peer) {
        const GuardedAddress address(peer.address);
        grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
        parameters.listener_fd = listening;
        parameters.fd = connection;
        acceptor->HandleNewConnection(&parameters);
      },
      log);
  return server;
}

absl::Status Server::WatchCalls(Log* log) {
  auto peers = TlsPeers::Open(tls_files_->copies().ca_file, &certificate_clock_);
  if (!peers.ok()) return peers.status();
  peers_ = *std::move(peers);
  admission_.set_peers(peers_.get());
  tls_upkeep_ =
      std::make_unique<TlsUpkeep>(tls_files_.get(), peers_.get(), &certificate_clock_, log);
  tls_upkeep_->WarnOfValidity();
  open_calls_.Start({.peers = peers_.get(),
                     .tls = tls_upkeep_.get(),
                     .reload_interval = tls_files_->copies().reload_interval,
                     .reset_call_count = ResetCallCount,
                     .large_message_bytes = LargeMessageBytes});
  return absl::OkStatus();
}

Server::~Server() {
  Shutdown(absl::ZeroDuration());
  SendGrpcLogTo(nullptr);
}

void Server::Serve(CallStore* store) {
  open_calls_.Serve(store);
  admission_.Open(store);
  SetHealth(true);
}

void Server::Drain() {
  SetHealth(false);
  admission_.Drain();
  open_streams_.Drain();
}

void Server::Shutdown(absl::Duration timeout) {
  if (server_ == nullptr) return;
  in_flight_.WaitForNone(timeout);
  listener_->Stop();
  // gRPC waits for writes in flight, and a client that does not read would block it for ever.
  Notification is_down;
  std::thread cutter([&] {
    if (!is_down.WaitForNotificationWithTimeout(kCutAfter)) listener_->CutAll();
  });
  server_->Shutdown(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(kGoodbye));
  is_down.Notify();
  cutter.join();
  server_ = nullptr;
  open_calls_.Stop();
}

void Server::SetHealth(bool serving) {
  grpc::HealthCheckServiceInterface* const health = server_->GetHealthCheckService();
  health->SetServingStatus(serving);
  health->SetServingStatus(kServiceName, serving);
}

}  // namespace mayfly
