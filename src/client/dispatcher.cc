#include "client/dispatcher.h"

#include <utility>

#include <grpcpp/alarm.h>

namespace mayfly::client {
namespace {

// Owns itself until it has run.
class PostedTask : public Completion {
 public:
  PostedTask(std::shared_ptr<Dispatcher> dispatcher, absl::AnyInvocable<void()> task)
      : dispatcher_(std::move(dispatcher)), task_(std::move(task)) {}

  void Start() {
    Completion* const tag = this;
    alarm_.Set(dispatcher_->queue(), gpr_inf_past(GPR_CLOCK_MONOTONIC), tag);
  }

  Then OnCompletion(bool) override {
    const std::unique_ptr<PostedTask> self(this);
    return std::move(task_);
  }

 private:
  const std::shared_ptr<Dispatcher> dispatcher_;
  absl::AnyInvocable<void()> task_;
  grpc::Alarm alarm_;
};

}  // namespace

Dispatcher::Dispatcher(std::thread* thread) : loop_(std::make_shared<Loop>()) {
  *thread = std::thread([loop = loop_] { loop->Run(); });
}

Dispatcher::~Dispatcher() { loop_->queue.Shutdown(); }

void Dispatcher::Post(const std::shared_ptr<Dispatcher>& dispatcher,
                      absl::AnyInvocable<void()> task) {
  (new PostedTask(dispatcher, std::move(task)))->Start();
}

void Dispatcher::FlushSoon(std::shared_ptr<Flushable> flushable) {
  {
    MutexLock lock(&loop_->mutex);
    if (loop_->is_dispatching) {
      loop_->to_flush.push_back(std::move(flushable));
      return;
    }
  }
  flushable->Flush();
}

void Dispatcher::FlushLast(std::shared_ptr<Flushable> flushable) {
  {
    MutexLock lock(&loop_->mutex);
    if (loop_->is_dispatching) {
      loop_->to_flush_last.push_back(std::move(flushable));
      return;
    }
  }
  flushable->Flush();
}

void Dispatcher::Loop::Run() {
  void* tag = nullptr;
  bool ok = false;
  while (queue.Next(&tag, &ok)) Dispatch(static_cast<Completion*>(tag), ok);
}

void Dispatcher::Loop::Dispatch(Completion* completion, bool ok) {
  {
    MutexLock lock(&mutex);
    is_dispatching = true;
  }
  if (Completion::Then then = completion->OnCompletion(ok)) then();
  for (Flushables next = TakeNext(); !next.empty(); next = TakeNext()) {
    for (const auto& flushable : next) flushable->Flush();
  }
}

Dispatcher::Flushables Dispatcher::Loop::TakeNext() {
  Flushables next;
  MutexLock lock(&mutex);
  next.swap(to_flush.empty() ? to_flush_last : to_flush);
  is_dispatching = !next.empty();
  return next;
}

}  // namespace mayfly::client
