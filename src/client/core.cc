#include "client/core.h"

#include <algorithm>
#include <errno.h>
#include <fstream>
#include <string.h>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <grpcpp/create_channel.h>
#include <grpcpp/support/channel_arguments.h>
#include <openssl/crypto.h>

#include "base/check.h"
#include "base/error.h"
#include "client/awaited_outputs.h"
#include "client/batchers.h"
#include "client/limits.h"
#include "client/transfer_pool.h"

namespace mayfly::client {
namespace {

constexpr absl::Duration kLingerMax = absl::Milliseconds(1);
constexpr int kLargeChannelsMax = 64;
constexpr absl::Duration kKeepaliveTimeMin = absl::Seconds(10);  // what servers permit
// gRPC's own pauses of 1 s up to 2 min would outlast the timeout of a call.
constexpr int kReconnectMsMin = 100;
constexpr int kReconnectMsMax = 2'000;
// A connection to every address that the name has. With gRPC's default, one to the first that can
// be reached, gRPC 1.51 stops connecting for ever when a resolution ends just while the first
// address refuses (ARCHITECTURE.md, "Names with two addresses").
constexpr char kServiceConfig[] = R"({"loadBalancingConfig": [{"round_robin": {}}]})";
constexpr size_t kPemBytesMax = 1 << 20;

int Milliseconds(absl::Duration duration) {
  constexpr absl::Duration kLongest = absl::Hours(24);
  return static_cast<int>(absl::ToInt64Milliseconds(std::min(duration, kLongest)));
}

std::shared_ptr<grpc::Channel> OpenChannel(
    const std::shared_ptr<grpc::ChannelCredentials>& credentials, const ClientOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(static_cast<int>(kMessageBytesMax + kEnvelopeBytesMax));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(options.keepalive_time));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(options.keepalive_timeout));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectMsMin);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectMsMax);
  arguments.SetServiceConfigJSON(kServiceConfig);
  // A server that has moved is found as soon as one that was started again: by default, half a
  // minute later.
  arguments.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, kReconnectMsMax);
  // Repeating is decided in one place, rpc_call.h.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // Otherwise all channels of a process that have the same target share one connection.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  if (!options.server_name.empty()) arguments.SetSslTargetNameOverride(options.server_name);
  return grpc::CreateCustomChannel(options.target, credentials, arguments);
}

// gRPC's threads outlive the client, and even main: one that reconnects while the program exits
// would crash if OpenSSL were cleaned up by then. Without effect if OpenSSL is in use already.
void KeepOpenSslUntilTheEnd() { OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, nullptr); }

absl::StatusOr<std::string> ReadPem(absl::string_view field, const std::string& path) {
  if (path.empty()) return FieldError(field, "empty", "expected the path of a PEM file");
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string text(kPemBytesMax, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad()) {
    return FieldError(field, path, absl::StrCat("not readable: ", strerrordesc_np(errno)));
  }
  text.resize(static_cast<size_t>(file.gcount()));
  if (!absl::StrContains(text, "-----BEGIN ")) {
    return FieldError(field, path, "not PEM: expected a file with a line -----BEGIN ...");
  }
  return text;
}

}  // namespace

Core::Core(const std::shared_ptr<grpc::ChannelCredentials>& credentials,
           const ClientOptions& options)
    : options_(options),
      stub_(v1::FunctionIo::NewStub(OpenChannel(credentials, options))),
      dispatcher_(std::make_shared<Dispatcher>(&thread_)),
      deadlines_(std::make_shared<Deadlines>(dispatcher_)),
      batchers_(std::make_unique<Batchers>(options, deadlines_)),
      transfer_pool_(std::make_unique<TransferPool>(options.large_channels)),
      awaited_outputs_(AwaitedOutputs::New(OutputFeed::SettingsOf(options), deadlines_)) {
  for (int i = 0; i < options.large_channels; ++i) {
    large_stubs_.push_back(v1::FunctionIo::NewStub(OpenChannel(credentials, options)));
  }
}

Core::~Core() {
  awaited_outputs_->Close();
  deadlines_->Close();
  batchers_.reset();
  transfer_pool_.reset();
  dispatcher_.reset();
  if (IsOwnThread()) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

void Core::CheckMayWait() const {
  Check(!IsOwnThread(), "a callback of a client does not wait for the client");
}

v1::FunctionIo::StubInterface* Core::NextLargeStub() {
  return large_stubs_[next_large_stub_.fetch_add(1) % large_stubs_.size()].get();
}

absl::Status CheckOptions(const ClientOptions& options) {
  if (options.target.empty()) return FieldError("target", "empty", "expected host:port");
  if (options.timeout <= absl::ZeroDuration()) {
    return FieldError("timeout", absl::FormatDuration(options.timeout), "expected more than 0");
  }
  if (options.batch_bytes_max < 1 || options.batch_bytes_max > kMessageBytesMax) {
    return FieldError("batch_bytes_max", absl::StrCat(options.batch_bytes_max),
                      absl::StrCat("expected 1..", kMessageBytesMax, " bytes"));
  }
  if (options.linger < absl::ZeroDuration() || options.linger > kLingerMax) {
    return FieldError("linger", absl::FormatDuration(options.linger), "expected 0..1ms");
  }
  if (options.large_channels < 1 || options.large_channels > kLargeChannelsMax) {
    return FieldError("large_channels", absl::StrCat(options.large_channels),
                      absl::StrCat("expected 1..", kLargeChannelsMax));
  }
  if (options.keepalive_time < kKeepaliveTimeMin) {
    return FieldError(
        "keepalive_time", absl::FormatDuration(options.keepalive_time),
        absl::StrCat("expected ", absl::FormatDuration(kKeepaliveTimeMin), " or more"));
  }
  if (options.keepalive_timeout <= absl::ZeroDuration()) {
    return FieldError("keepalive_timeout", absl::FormatDuration(options.keepalive_timeout),
                      "expected more than 0");
  }
  if (options.retry.attempts_max < 1) {
    return FieldError("retry.attempts_max", absl::StrCat(options.retry.attempts_max),
                      "expected 1 or more");
  }
  if (options.retry.delay_min <= absl::ZeroDuration() ||
      options.retry.delay_max < options.retry.delay_min) {
    return FieldError("retry.delay_min", absl::FormatDuration(options.retry.delay_min),
                      absl::StrCat("expected more than 0 and at most retry.delay_max, ",
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
  KeepOpenSslUntilTheEnd();
  return grpc::SslCredentials({.pem_root_certs = *std::move(ca),
                               .pem_private_key = *std::move(key),
                               .pem_cert_chain = *std::move(certificate)});
}

}  // namespace mayfly::client
