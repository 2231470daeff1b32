// A Batcher sends the single calls of many callers together, in few messages.
//
// A call that finds none of its kind under way leaves at once. Calls that come meanwhile leave
// together when an answer has come; so do calls that the callbacks of one answer make, when the
// last of these has returned. More than one message is under way only when there are more calls
// than fit into one, or when an answer is slow to come: a lost message must not hold up the others.
//
//   calls waiting   messages under way     the next message leaves
//   any             none                   at once, or after ClientOptions.linger
//   a full message  fewer than 4           at once
//   any             none for 50 ms         then
//
// Every call ends at its own time, whatever becomes of its message: when it is answered, when its
// timeout has passed, or when it is cancelled. Callbacks run on the core's thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "base/mutex.h"
#include "client/batch_call.h"
#include "client/limits.h"
#include "client/operation.h"
#include "client/rpc_call.h"

namespace mayfly::client {

// Thread-safe.
template <typename Rpc>
class Batcher : public Flushable,
                public Deadlines::Listener,
                public std::enable_shared_from_this<Batcher<Rpc>> {
 public:
  using Item = typename Rpc::Item;
  using Result = typename Rpc::Result;
  using Done = absl::AnyInvocable<void(Result)>;

  Batcher(const ClientOptions& options, std::shared_ptr<Deadlines> deadlines)
      : batch_bytes_max_(options.batch_bytes_max),
        linger_(options.linger),
        send_deadline_(std::move(deadlines)) {}

  void Submit(std::shared_ptr<Core> core, Item item, absl::Duration timeout,
              const std::optional<Cancellation>& cancellation, Done done) EXCLUDES_LOCK(mutex_) {
    auto single = std::make_shared<Single>(core, this, timeout, std::move(done), std::move(item));
    if (!single->CancelWith(cancellation)) return;
    single->SetDeadline(single->end());
    {
      MutexLock lock(&mutex_);
      if (single->IsFinished()) return;
      single->is_pending = true;
      ++pending_count_;
      pending_bytes_ += single->bytes;
      pending_.push_back(std::move(single));
      if (flush_requested_ || !MaySend()) return;
      flush_requested_ = true;
    }
    core->dispatcher()->FlushSoon(this->shared_from_this());
  }

  void Flush() override EXCLUDES_LOCK(mutex_) {
    std::vector<std::shared_ptr<Message>> messages;
    std::shared_ptr<Core> core;
    {
      MutexLock lock(&mutex_);
      flush_requested_ = false;
      while (MaySend()) {
        core = pending_.front()->core();
        messages.push_back(Cut());
      }
    }
    for (auto& message : messages) {
      std::make_shared<Call>(core, this->shared_from_this(), std::move(message))->Start();
    }
  }

  // On the core's thread: the time to send has come.
  void OnDeadline() override EXCLUDES_LOCK(mutex_) {
    {
      MutexLock lock(&mutex_);
      send_deadline_.Clear();
    }
    FlushIfDue();
  }

 private:
  class Call;
  static constexpr size_t kUnderWayMax = 4;
  static constexpr absl::Duration kSlow = absl::Milliseconds(50);

  // One call of a caller.
  struct Single : public CallerOperation<Result> {
    Single(std::shared_ptr<Core> core_of_client, Batcher* its_batcher, absl::Duration timeout,
           Done done, Item its_item)
        : CallerOperation<Result>(std::move(core_of_client), timeout, std::move(done)),
          batcher(its_batcher),
          bytes(Rpc::SizeBytes(its_item) + kItemOverheadBytesMax),
          item(std::move(its_item)) {}

    void OnEnd() override {
      if (!is_sent.load(std::memory_order_acquire)) batcher->Withdraw(this);
    }
    using Operation::CancelWith;
    using Operation::SetDeadline;

    Batcher* const batcher;  // the core's, which this holds until it has ended
    const size_t bytes;
    std::atomic<bool> is_sent = false;
    // Guarded by the batcher's lock until it is sent.
    Item item;
    bool is_pending = false;
  };
  using Singles = std::vector<std::shared_ptr<Single>>;
  // A message under way.
  struct Message {
    Singles singles;
    absl::Duration begun;
    absl::Duration last_deadline;
  };

  // The call ends before it is sent. Its place in the queue is skipped later, so that the queue is
  // not searched.
  void Withdraw(Single* single) EXCLUDES_LOCK(mutex_) {
    Item withdrawn;  // destroyed without the lock
    MutexLock lock(&mutex_);
    if (!std::exchange(single->is_pending, false)) return;
    withdrawn = std::move(single->item);
    --pending_count_;
    pending_bytes_ -= single->bytes;
    SkipWithdrawn();
  }

  void SkipWithdrawn() REQUIRES_LOCK(mutex_) {
    while (!pending_.empty() && !pending_.front()->is_pending) pending_.pop_front();
  }

  bool MaySend() REQUIRES_LOCK(mutex_) {
    SkipWithdrawn();
    if (pending_.empty() || under_way_.size() >= kUnderWayMax) return false;
    if (pending_count_ >= kBatchItemsMax || pending_bytes_ >= batch_bytes_max_) return true;
    if (under_way_.empty() && linger_ == absl::ZeroDuration()) return true;
    const absl::Duration sends =
        under_way_.empty() ? pending_.front()->end() - pending_.front()->timeout() + linger_
                           : under_way_.back()->begun + kSlow;
    if (Elapsed() >= sends) return true;
    send_deadline_.SetNoLaterThan(sends, this->weak_from_this());
    return false;
  }

  std::shared_ptr<Message> Cut() REQUIRES_LOCK(mutex_) {
    auto message = std::make_shared<Message>();
    message->begun = Elapsed();
    size_t bytes = 0;
    for (; !pending_.empty() && message->singles.size() < kBatchItemsMax; SkipWithdrawn()) {
      std::shared_ptr<Single>& single = pending_.front();
      bytes += single->bytes;
      if (!message->singles.empty() && bytes > batch_bytes_max_) break;
      --pending_count_;
      pending_bytes_ -= single->bytes;
      message->last_deadline = std::max(message->last_deadline, single->end());
      single->is_pending = false;
      single->is_sent.store(true, std::memory_order_release);
      message->singles.push_back(std::move(single));
      pending_.pop_front();
    }
    under_way_.push_back(message);
    return message;
  }

  void FlushIfDue() EXCLUDES_LOCK(mutex_) {
    std::shared_ptr<Core> core;
    {
      MutexLock lock(&mutex_);
      if (flush_requested_ || !MaySend()) return;
      flush_requested_ = true;
      core = pending_.front()->core();
    }
    core->dispatcher()->FlushSoon(this->shared_from_this());
  }

  // On the core's thread, as is all that follows.
  void OnAnswered(const Singles& singles, std::vector<Result> results) {
    for (size_t i = 0; i < singles.size(); ++i) {
      if (absl::IsDeadlineExceeded(StatusOf(results[i]))) {
        singles[i]->End(NoAnswerWithin(singles[i]->timeout()));
      } else {
        singles[i]->End(std::move(results[i]));
      }
    }
  }

  void OnArrived(const std::shared_ptr<Message>& message) EXCLUDES_LOCK(mutex_) {
    {
      MutexLock lock(&mutex_);
      under_way_.erase(std::find(under_way_.begin(), under_way_.end(), message));
    }
    FlushIfDue();
  }

  const size_t batch_bytes_max_;
  const absl::Duration linger_;
  Mutex mutex_;
  std::deque<std::shared_ptr<Single>> pending_ GUARDED_BY(mutex_);
  size_t pending_count_ GUARDED_BY(mutex_) = 0;  // without those withdrawn
  size_t pending_bytes_ GUARDED_BY(mutex_) = 0;
  std::vector<std::shared_ptr<Message>> under_way_ GUARDED_BY(mutex_);  // the oldest first
  bool flush_requested_ GUARDED_BY(mutex_) = false;
  Deadline send_deadline_ GUARDED_BY(mutex_);
};

template <typename Rpc>
class Batcher<Rpc>::Call : public RpcCall<typename Rpc::Request, typename Rpc::Response> {
  using Base = RpcCall<typename Rpc::Request, typename Rpc::Response>;
  using typename Base::Next;

 public:
  Call(const std::shared_ptr<Core>& core_of_client, std::shared_ptr<Batcher> batcher,
       std::shared_ptr<Message> message)
      : Base(core_of_client, Rpc::kMethod,
             TimeBudget(std::max(absl::ZeroDuration(), message->last_deadline - Elapsed()))),
        batcher_(std::move(batcher)),
        message_(std::move(message)),
        singles_(message_->singles) {
    if constexpr (requires { this->request()->set_max_bytes(1); }) {
      this->request()->set_max_bytes(core_of_client->options().batch_bytes_max);
    }
    for (const auto& single : singles_) {
      ids_.Add(&single->item);
      Rpc::Add(std::move(single->item), this->request());
    }
  }

 private:
  Next OnResponse(typename Rpc::Response* response) override {
    auto* answers = response->mutable_results();
    if (static_cast<size_t>(answers->size()) != singles_.size()) {
      const absl::Status error = absl::InternalError(absl::StrCat(
          "the server answered ", answers->size(), " results for ", singles_.size(), " items"));
      results_.assign(singles_.size(), Result(error));
      return Next::kEnd;
    }
    results_.clear();
    results_.reserve(singles_.size());
    std::vector<size_t> left;  // indexes into the request
    bool unavailable = false;
    bool has_new_ids = false;
    for (size_t i = 0; i < singles_.size(); ++i) {
      auto* answer = answers->Mutable(static_cast<int>(i));
      if (Rpc::DidNotFit(*answer) && !IsLarge(*answer)) {
        left.push_back(i);
        results_.push_back(absl::InternalError("the server sent no payload"));
        continue;
      }
      results_.push_back(Rpc::Read(answer));
      const absl::Status& status = StatusOf(results_.back());
      if (absl::IsUnavailable(status)) {
        unavailable = true;
      } else if (ids_.MintAgain(i, status, Rpc::Items(this->request())->Mutable(i))) {
        has_new_ids = true;
      } else {
        continue;
      }
      left.push_back(i);
    }
    // Each response has at least one payload. A server that sends none would be asked for ever.
    const bool moved_on = left.size() < singles_.size() || has_new_ids;
    if (left.empty() || (!unavailable && !moved_on)) return Next::kEnd;
    AnswerAllBut(left);
    return unavailable ? Next::kAgainLater : Next::kAgain;
  }

  Completion::Then OnEnd(const absl::Status& status) override {
    if (!status.ok()) results_.assign(singles_.size(), Result(status));
    return [batcher = batcher_, message = message_, singles = std::move(singles_),
            results = std::move(results_)]() mutable {
      batcher->OnArrived(message);
      batcher->OnAnswered(singles, std::move(results));
    };
  }

  // A payload that does not come in a message even if it is the only one.
  template <typename Answer>
  bool IsLarge(const Answer& answer) {
    if constexpr (requires { answer.size_bytes(); }) {
      return answer.size_bytes() >
             std::min<uint64_t>(kMessageDataBytesMax, this->request()->max_bytes());
    }
    return false;
  }

  void AnswerAllBut(const std::vector<size_t>& left) {
    Singles answered;
    Singles kept;
    std::vector<Result> results;
    auto* items = Rpc::Items(this->request());
    for (size_t i = 0; i < singles_.size(); ++i) {
      if (kept.size() < left.size() && left[kept.size()] == i) {
        items->SwapElements(static_cast<int>(kept.size()), static_cast<int>(i));
        kept.push_back(std::move(singles_[i]));
        continue;
      }
      answered.push_back(std::move(singles_[i]));
      results.push_back(std::move(results_[i]));
    }
    ids_.Keep(left);
    const int count = static_cast<int>(kept.size());
    items->DeleteSubrange(count, items->size() - count);
    singles_ = std::move(kept);
    // Their callbacks run when this completion is through, and without the core.
    Dispatcher::Post(this->core()->dispatcher(), [batcher = batcher_, singles = std::move(answered),
                                                  answers = std::move(results)]() mutable {
      batcher->OnAnswered(singles, std::move(answers));
    });
  }

  const std::shared_ptr<Batcher> batcher_;
  const std::shared_ptr<Message> message_;
  Singles singles_;  // of the request's items, in their order
  std::vector<Result> results_;
  [[no_unique_address]] typename Rpc::Ids ids_;
};

}  // namespace mayfly::client
