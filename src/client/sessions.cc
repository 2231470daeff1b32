#include "client/sessions.h"

#include <algorithm>
#include <utility>

#include "client/core.h"
#include "client/time_budget.h"

namespace mayfly::client {

void Sessions::Send(const Core& core, const Session::Entry& entry) {
  while (true) {
    const std::shared_ptr<Session> session = Current(core);
    if (session->Send(core.dispatcher().get(), entry)) return;
    Replace(session);
  }
}

Sessions::Place Sessions::Attach(const Core& core, const std::weak_ptr<Session::Feed>& feed) {
  while (true) {
    std::shared_ptr<Session> session = Current(core);
    const uint64_t subscription = session->Attach(feed);
    if (subscription != 0) return {.session = std::move(session), .subscription = subscription};
    Replace(session);
  }
}

std::shared_ptr<Session> Sessions::Current(const Core& core) {
  std::shared_ptr<Connections::Stub> stub = core.connections()->NextStub();
  std::shared_ptr<Session> retired;
  std::shared_ptr<Session> current;
  {
    MutexLock lock(&mutex_);
    if (current_ != nullptr && current_->stub() == stub && Elapsed() < current_->use_end()) {
      return current_;
    }
    if (current_ != nullptr) retired_.push_back(current_);
    retired = std::move(current_);
    current_ = std::make_shared<Session>(std::move(stub), deadlines_, times_, weak_from_this());
    current_->Open(core.dispatcher());
    current = current_;
  }
  if (retired != nullptr) retired->Retire();
  return current;
}

void Sessions::Replace(const std::shared_ptr<Session>& session) {
  MutexLock lock(&mutex_);
  if (current_ != session) return;
  retired_.push_back(std::move(current_));
  current_ = nullptr;
}

void Sessions::OnEnd(const Session* session) {
  std::shared_ptr<Session> ended;  // not destroyed under the lock
  MutexLock lock(&mutex_);
  if (current_.get() == session) ended = std::move(current_);
  const auto found = std::find_if(retired_.begin(), retired_.end(),
                                  [&](const auto& retired) { return retired.get() == session; });
  if (found == retired_.end()) return;
  ended = std::move(*found);
  retired_.erase(found);
}

void Sessions::Close() {
  std::vector<std::shared_ptr<Session>> sessions;
  {
    MutexLock lock(&mutex_);
    sessions.swap(retired_);
    if (current_ != nullptr) sessions.push_back(std::move(current_));
    current_ = nullptr;
  }
  for (const std::shared_ptr<Session>& session : sessions) session->Cancel();
}

}  // namespace mayfly::client
