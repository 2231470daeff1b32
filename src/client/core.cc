#include "client/core.h"

#include <errno.h>
#include <fstream>
#include <string.h>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <grpcpp/create_channel.h>
#include <grpcpp/support/channel_arguments.h>

#include "base/error.h"
#include "client/limits.h"

namespace mayfly::client {
namespace {

constexpr int kKeepaliveMs = 20'000;
constexpr int kKeepaliveTimeoutMs = 10'000;
// gRPC's own pauses of 1 s up to 2 min would outlast the timeout of a call.
constexpr int kReconnectMsMin = 100;
constexpr int kReconnectMsMax = 2'000;
constexpr size_t kPemBytesMax = 1 << 20;

std::shared_ptr<grpc::Channel> OpenChannel(
    const std::shared_ptr<grpc::ChannelCredentials>& credentials, const ClientOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(static_cast<int>(kMessageBytesMax + kEnvelopeBytesMax));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectMsMin);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectMsMax);
  // Repeating is decided in one place, rpc_call.h.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // Otherwise all clients of a process that have the same target share one connection.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  if (!options.server_name.empty()) arguments.SetSslTargetNameOverride(options.server_name);
  return grpc::CreateCustomChannel(options.target, credentials, arguments);
}

void RunCompletions(const std::shared_ptr<grpc::CompletionQueue>& queue) {
  void* tag = nullptr;
  bool ok = false;
  while (queue->Next(&tag, &ok)) {
    Completion::Then then = static_cast<Completion*>(tag)->OnCompletion(ok);
    if (then) then();
  }
}

absl::StatusOr<std::string> ReadPem(absl::string_view field, const std::string& path) {
  if (path.empty()) return FieldError(field, "empty", "wants the path of a PEM file");
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string text(kPemBytesMax, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad()) {
    return FieldError(field, "not readable", strerrordesc_np(errno));
  }
  text.resize(static_cast<size_t>(file.gcount()));
  if (!absl::StrContains(text, "-----BEGIN ")) {
    return FieldError(field, "not PEM", "wants a file with a line -----BEGIN ...");
  }
  return text;
}

}  // namespace

Core::Core(const std::shared_ptr<grpc::ChannelCredentials>& credentials,
           const ClientOptions& options)
    : options_(options),
      stub_(v1::FunctionIo::NewStub(OpenChannel(credentials, options))),
      queue_(std::make_shared<grpc::CompletionQueue>()),
      thread_(RunCompletions, queue_) {}

Core::~Core() {
  queue_->Shutdown();
  if (IsOwnThread()) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

absl::Status CheckOptions(const ClientOptions& options) {
  if (options.target.empty()) return FieldError("target", "empty", "wants host:port");
  if (options.timeout <= absl::ZeroDuration()) {
    return FieldError("timeout", absl::FormatDuration(options.timeout), "wants more than 0");
  }
  if (options.batch_bytes_max < 1 || options.batch_bytes_max > kMessageBytesMax) {
    return FieldError("batch_bytes_max", absl::StrCat(options.batch_bytes_max),
                      absl::StrCat("wants 1..", kMessageBytesMax, " bytes"));
  }
  if (options.retry.attempts_max < 1) {
    return FieldError("retry.attempts_max", absl::StrCat(options.retry.attempts_max),
                      "wants 1 or more");
  }
  if (options.retry.delay_min <= absl::ZeroDuration() ||
      options.retry.delay_max < options.retry.delay_min) {
    return FieldError("retry.delay_min", absl::FormatDuration(options.retry.delay_min),
                      absl::StrCat("wants more than 0 and at most retry.delay_max, ",
                                   absl::FormatDuration(options.retry.delay_max)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ReadCredentials(
    const ClientOptions& options) {
  absl::StatusOr<std::string> ca = ReadPem("ca_file", options.ca_file);
  RETURN_IF_ERROR(ca.status());
  absl::StatusOr<std::string> certificate = ReadPem("certificate_file", options.certificate_file);
  RETURN_IF_ERROR(certificate.status());
  absl::StatusOr<std::string> key = ReadPem("key_file", options.key_file);
  RETURN_IF_ERROR(key.status());
  return grpc::SslCredentials({.pem_root_certs = *std::move(ca),
                               .pem_private_key = *std::move(key),
                               .pem_cert_chain = *std::move(certificate)});
}

}  // namespace mayfly::client
