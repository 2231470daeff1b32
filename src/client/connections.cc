#include "client/connections.h"

#include <algorithm>
#include <signal.h>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <grpcpp/create_channel.h>
#include <grpcpp/support/channel_arguments.h>

#include "base/error.h"
#include "client/limits.h"
#include "client/server_probe.h"
#include "client/time_budget.h"

namespace mayfly::client {
namespace {

// gRPC's own pauses of 1 s up to 2 min would outlast the timeout of a call.
constexpr int kReconnectMsMin = 100;
constexpr int kReconnectMsMax = 2'000;
// A connection to every address that the name has. With gRPC's default, one to the first that can
// be reached, gRPC 1.51 stops connecting for ever when a resolution ends just while the first
// address refuses (ARCHITECTURE.md, "Names with two addresses").
constexpr char kServiceConfig[] = R"({"loadBalancingConfig": [{"round_robin": {}}]})";
// Between two looks at the files, which take microseconds, while calls succeed.
constexpr absl::Duration kFilesInterval = absl::Seconds(1);
constexpr absl::Duration kProbeInterval = absl::Seconds(1);
// How long a finding explains further failures: longer than the pauses between attempts.
constexpr absl::Duration kFindingTime = absl::Seconds(10);
// The texts of gRPC 1.51, under round_robin and pick_first, when no connection comes about.
constexpr absl::string_view kNoConnection[] = {"connections to all backends failing",
                                               "failed to connect to all addresses",
                                               "DNS resolution failed", "empty address list"};
constexpr absl::string_view kLastError = "last error: ";

int Milliseconds(absl::Duration duration) {
  constexpr absl::Duration kLongest = absl::Hours(24);
  return static_cast<int>(absl::ToInt64Milliseconds(std::min(duration, kLongest)));
}

bool IsNoConnection(const absl::Status& status) {
  return std::any_of(
      std::begin(kNoConnection), std::end(kNoConnection),
      [&](absl::string_view text) { return absl::StartsWith(status.message(), text); });
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

ClientOptions WithPort(ClientOptions options) {
  if (HasScheme(options.target)) return options;
  const absl::StatusOr<ServerAddress> address = ParseServerAddress(options.target);
  if (address.ok()) options.target = address->ToString();
  return options;
}

std::optional<ServerAddress> AddressOf(const ClientOptions& options) {
  if (HasScheme(options.target)) return std::nullopt;
  const absl::StatusOr<ServerAddress> address = ParseServerAddress(options.target);
  return address.ok() ? std::optional(*address) : std::nullopt;
}

// Signals are the program's. A connection that breaks while OpenSSL writes to it raises SIGPIPE.
void BlockSignals() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

}  // namespace

bool Connections::Stubs::Has(const std::shared_ptr<Stub>& stub) const {
  return stub == small || std::find(large.begin(), large.end(), stub) != large.end();
}

absl::StatusOr<std::shared_ptr<Connections>> Connections::Open(const ClientOptions& options) {
  // Read before the files: a change meanwhile counts as one afterwards.
  std::string version = TlsFilesVersion(options);
  absl::StatusOr<TlsTexts> texts = LoadTlsFiles(options);
  RETURN_IF_ERROR(texts.status());
  return std::shared_ptr<Connections>(
      new Connections(options, *std::move(texts), std::move(version)));
}

Connections::Connections(const std::shared_ptr<grpc::ChannelCredentials>& credentials,
                         ClientOptions options)
    : options_(WithPort(std::move(options))), stubs_(OpenStubs(credentials, options_)) {}

Connections::Connections(ClientOptions options, TlsTexts texts, std::string version)
    : options_(WithPort(std::move(options))),
      address_(AddressOf(options_)),
      stubs_(OpenStubs(CredentialsOf(texts), options_)),
      texts_(std::move(texts)),
      version_(std::move(version)) {}

Connections::Stubs Connections::OpenStubs(
    const std::shared_ptr<grpc::ChannelCredentials>& credentials, const ClientOptions& options) {
  Stubs stubs;
  stubs.channel = OpenChannel(credentials, options);
  stubs.small = v1::FunctionIo::NewStub(stubs.channel);
  for (int i = 0; i < options.large_channels; ++i) {
    stubs.large.push_back(v1::FunctionIo::NewStub(OpenChannel(credentials, options)));
  }
  return stubs;
}

std::shared_ptr<Connections::Stub> Connections::NextStub() {
  MutexLock lock(&mutex_);
  const absl::Duration now = texts_.has_value() ? Elapsed() : absl::ZeroDuration();
  if (texts_.has_value() && now - checked_ >= kFilesInterval) Refresh(now);
  return stubs_.small;
}

std::shared_ptr<Connections::Stub> Connections::NextLargeStub() {
  const size_t turn = next_large_.fetch_add(1);
  MutexLock lock(&mutex_);
  if (texts_.has_value()) Refresh(Elapsed());
  return stubs_.large[turn % stubs_.large.size()];
}

void Connections::Refresh(absl::Duration now) {
  checked_ = now;
  std::string version = TlsFilesVersion(options_);
  if (version == version_) return;
  absl::StatusOr<TlsTexts> texts = ReadTlsFiles(options_);
  unusable_ = texts.ok() ? CheckTls(*texts, options_, absl::Now()) : texts.status();
  if (!unusable_.ok()) return;  // perhaps replaced by halves: the next look reads it again
  version_ = std::move(version);
  if (*texts == *texts_) return;
  texts_ = *std::move(texts);
  stubs_ = OpenStubs(CredentialsOf(*texts_), options_);
  found_ = absl::OkStatus();
  probed_ = -absl::InfiniteDuration();
}

absl::Status Connections::Explain(const absl::Status& status, const std::shared_ptr<Stub>& used) {
  const bool is_identity = absl::IsUnauthenticated(status);
  const bool is_connection = (absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status)) &&
                             ReasonOf(status) == Reason::kUnspecified;
  if (!is_identity && !is_connection) return status;
  MutexLock lock(&mutex_);
  const absl::Duration now = Elapsed();
  if (texts_.has_value()) Refresh(now);
  if (!stubs_.Has(used)) {
    return absl::UnavailableError("certificate, key or CA were replaced during the call");
  }
  if (is_identity) return status;
  const bool is_unanswered = absl::IsDeadlineExceeded(status);
  // A slow server is not asked for connections on top.
  if (is_unanswered && stubs_.channel->GetState(false) == GRPC_CHANNEL_READY) return status;
  if (!is_unanswered && !IsNoConnection(status)) {
    return absl::UnavailableError(InOwnWords(status));
  }
  if (texts_.has_value()) {
    RETURN_IF_ERROR(unusable_);
    RETURN_IF_ERROR(CheckTls(*texts_, options_, absl::Now()));
    is_failing_ = true;
    const absl::Status found = now - probed_ < kFindingTime ? found_ : absl::OkStatus();
    StartProbe(now);
    if (!found.ok()) return found;
  }
  return is_unanswered ? status : absl::UnavailableError(InOwnWords(status));
}

std::string Connections::InOwnWords(const absl::Status& status) const {
  const absl::string_view text = status.message();
  if (IsNoConnection(status)) {
    const size_t last = text.find(kLastError);
    const absl::string_view why =
        last == absl::string_view::npos ? text : text.substr(last + kLastError.size());
    return absl::StrCat("cannot reach ", options_.target, ": ", why);
  }
  for (const absl::string_view broken :
       {"Socket closed", "Connection reset", "Broken pipe", "GOAWAY", "keepalive", "Endpoint"}) {
    if (absl::StrContains(text, broken)) {
      return absl::StrCat("the connection to ", options_.target, " broke: ", text);
    }
  }
  return std::string(text);
}

void Connections::StartProbe(absl::Duration now) {
  if (is_probing_ || !address_.has_value() || now - probed_ < kProbeInterval) return;
  is_probing_ = true;
  probed_ = now;
  // A name may take long to resolve, so nobody waits for the thread.
  std::thread([weak = weak_from_this(), address = *address_, texts = *texts_, options = options_,
               version = version_] {
    BlockSignals();
    const absl::Status found = ProbeServer(address, texts, options);
    if (const auto self = weak.lock()) self->OnProbed(version, found);
  }).detach();
}

void Connections::OnProbed(const std::string& version, const absl::Status& found) {
  {
    MutexLock lock(&mutex_);
    is_probing_ = false;
    if (version != version_ || !is_failing_) return;
    found_ = found;
    if (found.ok() || reported_ == found.message()) return;
    reported_ = std::string(found.message());
  }
  if (options_.on_unreachable == nullptr) return;
  MutexLock lock(&report_mutex_);
  if (!closed_) options_.on_unreachable(found);
}

void Connections::ForgetFailure() {
  MutexLock lock(&mutex_);
  is_failing_ = false;
  found_ = absl::OkStatus();
  reported_.clear();
}

void Connections::Close() {
  MutexLock lock(&report_mutex_);
  closed_ = true;
}

}  // namespace mayfly::client
