#include "python_native/channel.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include "python_native/wire.h"

namespace mayfly::python {
namespace {

constexpr int kReconnectMsMin = 100;
constexpr int kNeverMs = std::numeric_limits<int>::max();
std::shared_ptr<grpc::Channel> OpenChannel(const ChannelOptions& options) {
  const auto milliseconds = [](absl::Duration duration) {
    return static_cast<int>(absl::ToInt64Milliseconds(duration));
  };
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, milliseconds(options.keepalive_time));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, milliseconds(options.keepalive_timeout));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectMsMin);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, milliseconds(options.reconnect_pause_max));
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // A connection of its own, whatever other clients of the process have.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // As mayfly.channels, which opens another channel when this one does not reach the server.
  arguments.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, kNeverMs);
  if (!options.server_name.empty()) arguments.SetSslTargetNameOverride(options.server_name);
  const auto credentials = grpc::SslCredentials({.pem_root_certs = options.ca,
                                                 .pem_private_key = options.key,
                                                 .pem_cert_chain = options.certificate});
  return grpc::CreateCustomChannel(options.target, credentials, arguments);
}

Answer Closed() {
  Answer answer;
  answer.code = grpc::StatusCode::CANCELLED;
  answer.message = "the channel is closed";
  return answer;
}

// Nobody waits for its answer.
class ReleaseRequest : public Request {
 public:
  ReleaseRequest() : Request(kReleaseOutputs) {}

 private:
  void OnAnswer() override {}
};

}  // namespace

Channel::Channel(const ChannelOptions& options)
    : stub_(std::make_unique<grpc::GenericStub>(OpenChannel(options))),
      loop_([this] { return CheckIdle(); }) {}

Channel::~Channel() { Close(); }

void Channel::Send(const std::shared_ptr<Request>& request, absl::string_view message) {
  while (const std::shared_ptr<Session> session = Current()) {
    if (session->Send(request, message)) return;
  }
  request->TakeAnswer(Closed());
}

void Channel::SendWatched(const std::shared_ptr<Request>& request, absl::string_view message) {
  bool is_first = false;
  {
    MutexLock lock(&mutex_);
    is_first = !is_watched_;
    is_watched_ = true;
  }
  if (is_first) loop_.BeginWatch();
  Send(request, message);
}

bool Channel::Abandon(Request* request, absl::string_view message) {
  if (!request->Abandon(request->method() == kClaimOutputs ? message : "")) return false;
  if (request->method() == kClaimOutputs) return true;  // its answer is waited for
  std::vector<std::shared_ptr<Session>> sessions;
  {
    MutexLock lock(&mutex_);
    sessions = sessions_;
  }
  for (const auto& session : sessions) session->Withdraw(request);
  return true;
}

void Channel::ReleaseClaims(absl::string_view claim_request, const Answer& answer) {
  if (answer.code != 0) return;
  const absl::string_view response(reinterpret_cast<const char*>(answer.response.begin()),
                                   answer.response.size());
  const std::string release = ReleaseOf(claim_request, response);
  if (!release.empty()) Send(std::make_shared<ReleaseRequest>(), release);
}

std::shared_ptr<Session> Channel::Current() {
  std::shared_ptr<Session> retired;
  std::shared_ptr<Session> current;
  {
    MutexLock lock(&mutex_);
    if (is_closed_) return nullptr;
    if (current_ != nullptr && current_->IsOfUse()) return current_;
    retired = std::move(current_);
    current = std::make_shared<Session>(this, stub_.get(), loop_.queue());
    sessions_.push_back(current);
    current_ = current;
  }
  if (retired != nullptr) retired->Retire();
  return current;
}

void Channel::OnAnswer(const std::shared_ptr<Request>& request, Answer answer) {
  {
    MutexLock lock(&mutex_);
    if (is_closed_ && answer.code != 0) answer = Closed();
  }
  if (request->TakeAnswer(std::move(answer))) return;
  if (request->method() == kClaimOutputs) ReleaseClaims(request->abandoned(), answer);
}

void Channel::OnEnd(Session* session) {
  std::shared_ptr<Session> ended;  // destroyed without the lock
  std::shared_ptr<Session> current;
  MutexLock lock(&mutex_);
  if (current_.get() == session) current = std::move(current_);
  const auto found = std::find_if(sessions_.begin(), sessions_.end(),
                                  [&](const auto& each) { return each.get() == session; });
  ended = std::move(*found);
  sessions_.erase(found);
  session_ended_.NotifyAll();
}

bool Channel::CheckIdle() {
  std::vector<std::shared_ptr<Session>> sessions;
  {
    MutexLock lock(&mutex_);
    sessions = sessions_;
  }
  for (const auto& session : sessions) session->CheckIdle();
  return !sessions.empty();
}

void Channel::Close() {
  std::vector<std::shared_ptr<Session>> sessions;
  {
    MutexLock lock(&mutex_);
    is_closed_ = true;
    sessions = sessions_;
  }
  loop_.BeginWatch();
  for (const auto& session : sessions) session->Cancel();
  sessions.clear();
  {
    MutexLock lock(&mutex_);
    while (!sessions_.empty()) session_ended_.Wait(&mutex_);
    if (is_stopped_) return;
    is_stopped_ = true;
    current_ = nullptr;
    // Connects no more: it would when a process ends and OpenSSL is cleaned up already.
    stub_ = nullptr;
  }
  loop_.Stop();
}

}  // namespace mayfly::python
