#include "python_native/channel.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <utility>

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include "python_native/wire.h"

namespace mayfly::python {
namespace {

constexpr int kReconnectMsMin = 100;
// Between two looks at sessions that may be idle.
constexpr std::chrono::seconds kIdleInterval(5);
// As client/connections.cc: a connection to every address that the name has.
constexpr char kServiceConfig[] = R"({"loadBalancingConfig": [{"round_robin": {}}]})";

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
  arguments.SetServiceConfigJSON(kServiceConfig);
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
    : stub_(OpenChannel(options)), thread_([this] { Run(); }) {}

Channel::~Channel() { Close(); }

void Channel::Send(const std::shared_ptr<Request>& request, absl::string_view message) {
  while (const std::shared_ptr<Session> session = Current()) {
    if (session->Send(request, message)) return;
  }
  request->TakeAnswer(Closed());
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
    current = std::make_shared<Session>(this, &stub_, &queue_);
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

void Channel::CheckIdle() {
  std::vector<std::shared_ptr<Session>> sessions;
  {
    MutexLock lock(&mutex_);
    sessions = sessions_;
  }
  for (const auto& session : sessions) session->CheckIdle();
}

void Channel::Run() {
  // Signals are the program's.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  void* tag = nullptr;
  bool ok = false;
  while (true) {
    bool is_idle = false;
    {
      MutexLock lock(&mutex_);
      is_idle = sessions_.empty();
    }
    const auto until = is_idle ? std::chrono::system_clock::time_point::max()
                               : std::chrono::system_clock::now() + kIdleInterval;
    switch (queue_.AsyncNext(&tag, &ok, until)) {
      case grpc::CompletionQueue::SHUTDOWN:
        return;
      case grpc::CompletionQueue::TIMEOUT:
        CheckIdle();
        break;
      case grpc::CompletionQueue::GOT_EVENT:
        static_cast<Event*>(tag)->OnEvent(ok);
    }
  }
}

void Channel::Close() {
  std::vector<std::shared_ptr<Session>> sessions;
  {
    MutexLock lock(&mutex_);
    is_closed_ = true;
    sessions = sessions_;
  }
  for (const auto& session : sessions) session->Cancel();
  sessions.clear();
  {
    MutexLock lock(&mutex_);
    while (!sessions_.empty()) session_ended_.Wait(&mutex_);
    if (is_shut_down_) return;
    is_shut_down_ = true;
    current_ = nullptr;
  }
  queue_.Shutdown();
  thread_.join();
}

}  // namespace mayfly::python
