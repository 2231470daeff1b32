// A Collector lets single items of many callers travel in few messages.
//
// An item that finds nothing of its kind under way leaves at once; those that come meanwhile leave
// together when an answer has come. What the callbacks of one answer ask for leaves together too,
// when the last of them has returned. More than one message is under way only when there is more
// than one holds, or when the answer is slow to come: one that is lost must not hold up the rest.
//
//   items waiting   under way              leaves
//   any             none                   at once, or after ClientOptions.linger
//   a full message  fewer than 4           at once
//   any             none for 50 ms         then
//
// Every item ends at its own time, whatever becomes of the message that it is in: when answered,
// when its timeout has passed, or when it is cancelled. Callbacks run on the core's thread.
#pragma once

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "base/mutex.h"
#include "client/batch.h"
#include "client/cancellation.h"
#include "client/limits.h"
#include "client/rpc_call.h"
#include "client/timer.h"

namespace mayfly::client {

inline absl::Status NoAnswerWithin(absl::Duration timeout) {
  return absl::DeadlineExceededError(
      absl::StrCat("no answer within ", absl::FormatDuration(timeout)));
}

// Thread-safe.
template <typename Rpc>
class Collector : public Flushable, public std::enable_shared_from_this<Collector<Rpc>> {
 public:
  using Item = typename Rpc::Item;
  using Result = typename Rpc::Result;
  using Done = absl::AnyInvocable<void(Result)>;

  static std::shared_ptr<Collector> New() {
    auto collector = std::make_shared<Collector>();
    collector->timer_ = std::make_shared<Timer>([weak = collector->weak_from_this()] {
      if (const auto self = weak.lock()) self->OnTime();
    });
    return collector;
  }
  ~Collector() override { timer_->Stop(); }

  void Submit(std::shared_ptr<Core> core, Item item, absl::Duration timeout,
              const std::optional<Cancellation>& cancellation, Done done) EXCLUDES_LOCK(mutex_) {
    if (cancellation.has_value() && cancellation->IsCancelled()) {
      return Dispatcher::Post(core->dispatcher(),
                              [done = std::move(done)]() mutable { done(CancelledByCaller()); });
    }
    auto op = std::make_shared<Op>();
    op->bytes = Rpc::SizeBytes(item) + kItemOverheadBytesMax;
    op->item = std::move(item);
    op->done = std::move(done);
    op->timeout = timeout;
    op->deadline = Elapsed() + timeout;
    if (cancellation.has_value()) HookInto(core, *cancellation, op);
    {
      MutexLock lock(&mutex_);
      if (keep_ == nullptr) keep_ = core;
      SetTimer(op->deadline);
      pending_bytes_ += op->bytes;
      pending_.push_back(std::move(op));
      if (flush_requested_ || !MaySend()) return;
      flush_requested_ = true;
    }
    core->dispatcher()->FlushSoon(this->shared_from_this());
  }

  void Flush() override EXCLUDES_LOCK(mutex_) {
    std::vector<std::shared_ptr<Departure>> departures;
    std::shared_ptr<Core> core;
    {
      MutexLock lock(&mutex_);
      flush_requested_ = false;
      core = keep_;
      while (MaySend()) departures.push_back(Cut());
      if (!departures.empty()) under_way_core_ = core;
      if (pending_.empty()) keep_ = nullptr;
    }
    for (auto& departure : departures) {
      std::make_shared<Call>(core, this->shared_from_this(), std::move(departure))->Start();
    }
  }

 private:
  class Call;
  static constexpr size_t kUnderWayMax = 4;
  static constexpr absl::Duration kSlow = absl::Milliseconds(50);

  // `item` is its message's when that is under way; `ended` and `done` are the core's thread's.
  struct Op {
    Item item;
    size_t bytes = 0;
    Done done;
    absl::Duration timeout;
    absl::Duration deadline;
    bool ended = false;
    CancellationHook hook;
  };
  using Ops = std::vector<std::shared_ptr<Op>>;
  // A message under way.
  struct Departure {
    Ops ops;
    absl::Duration begun;
    absl::Duration last_deadline;
  };

  static void End(const std::shared_ptr<Op>& op, Result result) {
    if (op->ended) return;
    op->ended = true;
    Done done = std::move(op->done);
    done(std::move(result));
  }

  void HookInto(const std::shared_ptr<Core>& core, const Cancellation& cancellation,
                const std::shared_ptr<Op>& op) {
    std::weak_ptr<Collector> weak = this->weak_from_this();
    std::weak_ptr<Dispatcher> weak_dispatcher = core->dispatcher();
    std::weak_ptr<Op> weak_op = op;
    op->hook = CancellationHook(cancellation, [weak, weak_dispatcher, weak_op] {
      const auto dispatcher = weak_dispatcher.lock();
      if (dispatcher == nullptr) return;
      Dispatcher::Post(dispatcher, [weak, weak_op] {
        const auto self = weak.lock();
        const auto cancelled = weak_op.lock();
        if (self != nullptr && cancelled != nullptr) self->Cancel(cancelled);
      });
    });
  }

  void Cancel(const std::shared_ptr<Op>& op) EXCLUDES_LOCK(mutex_) {
    {
      MutexLock lock(&mutex_);
      const auto found = std::find(pending_.begin(), pending_.end(), op);
      if (found != pending_.end()) Forget(found);
    }
    End(op, CancelledByCaller());
  }

  typename std::deque<std::shared_ptr<Op>>::iterator Forget(
      typename std::deque<std::shared_ptr<Op>>::iterator op) REQUIRES_LOCK(mutex_) {
    pending_bytes_ -= (*op)->bytes;
    op = pending_.erase(op);
    if (pending_.empty() && !flush_requested_) keep_ = nullptr;
    return op;
  }

  // Has what is due looked at no later than then.
  void SetTimer(absl::Duration due) REQUIRES_LOCK(mutex_) {
    if (due >= timer_due_) return;
    timer_due_ = due;
    timer_->SetNoLaterThan(keep_->dispatcher(), due);
  }

  bool MaySend() REQUIRES_LOCK(mutex_) {
    if (pending_.empty() || under_way_.size() >= kUnderWayMax) return false;
    const bool is_full =
        pending_.size() >= kBatchItemsMax || pending_bytes_ >= keep_->options().batch_bytes_max;
    if (is_full) return true;
    const absl::Duration linger = keep_->options().linger;
    if (under_way_.empty() && linger == absl::ZeroDuration()) return true;
    const absl::Duration sends =
        under_way_.empty() ? pending_.front()->deadline - pending_.front()->timeout + linger
                           : under_way_.back()->begun + kSlow;
    if (Elapsed() >= sends) return true;
    SetTimer(sends);
    return false;
  }

  std::shared_ptr<Departure> Cut() REQUIRES_LOCK(mutex_) {
    auto departure = std::make_shared<Departure>();
    departure->begun = Elapsed();
    size_t bytes = 0;
    while (!pending_.empty() && departure->ops.size() < kBatchItemsMax) {
      std::shared_ptr<Op>& op = pending_.front();
      bytes += op->bytes;
      if (!departure->ops.empty() && bytes > keep_->options().batch_bytes_max) break;
      pending_bytes_ -= op->bytes;
      departure->last_deadline = std::max(departure->last_deadline, op->deadline);
      departure->ops.push_back(std::move(op));
      pending_.pop_front();
    }
    under_way_.push_back(departure);
    return departure;
  }

  // On the core's thread, as is all that follows.
  void OnTime() EXCLUDES_LOCK(mutex_) {
    Ops expired;
    std::shared_ptr<Core> core;
    {
      MutexLock lock(&mutex_);
      timer_due_ = absl::InfiniteDuration();
      core = keep_;
      const absl::Duration now = Elapsed();
      absl::Duration next = absl::InfiniteDuration();
      for (auto op = pending_.begin(); op != pending_.end();) {
        next = std::min(next, (*op)->deadline > now ? (*op)->deadline : next);
        if ((*op)->deadline > now) {
          ++op;
          continue;
        }
        expired.push_back(*op);
        op = Forget(op);
      }
      for (const auto& departure : under_way_) {
        for (const auto& op : departure->ops) {
          if (op->ended) continue;
          if (op->deadline > now) next = std::min(next, op->deadline);
          if (op->deadline <= now) expired.push_back(op);
        }
      }
      if (core == nullptr && !under_way_.empty()) core = under_way_core_.lock();
      if (core != nullptr && next < absl::InfiniteDuration()) {
        timer_due_ = next;
        timer_->SetNoLaterThan(core->dispatcher(), next);
      }
      if (keep_ == nullptr || flush_requested_ || !MaySend()) {
        core = nullptr;
      } else {
        flush_requested_ = true;
      }
    }
    if (core != nullptr) core->dispatcher()->FlushSoon(this->shared_from_this());
    core = nullptr;
    for (const auto& op : expired) End(op, NoAnswerWithin(op->timeout));
  }

  void OnAnswered(const Ops& ops, std::vector<Result> results) {
    for (size_t i = 0; i < ops.size(); ++i) {
      if (absl::IsDeadlineExceeded(StatusOf(results[i]))) {
        End(ops[i], NoAnswerWithin(ops[i]->timeout));
      } else {
        End(ops[i], std::move(results[i]));
      }
    }
  }

  void OnArrived(const std::shared_ptr<Departure>& departure) EXCLUDES_LOCK(mutex_) {
    std::shared_ptr<Core> core;
    {
      MutexLock lock(&mutex_);
      under_way_.erase(std::find(under_way_.begin(), under_way_.end(), departure));
      if (pending_.empty() || flush_requested_ || !MaySend()) return;
      flush_requested_ = true;
      core = keep_;
    }
    core->dispatcher()->FlushSoon(this->shared_from_this());
  }

  std::shared_ptr<Timer> timer_;
  Mutex mutex_;
  std::deque<std::shared_ptr<Op>> pending_ GUARDED_BY(mutex_);
  size_t pending_bytes_ GUARDED_BY(mutex_) = 0;
  std::vector<std::shared_ptr<Departure>> under_way_ GUARDED_BY(mutex_);  // the oldest first
  bool flush_requested_ GUARDED_BY(mutex_) = false;
  absl::Duration timer_due_ GUARDED_BY(mutex_) = absl::InfiniteDuration();
  std::shared_ptr<Core> keep_ GUARDED_BY(mutex_);  // set while something is pending
  std::weak_ptr<Core> under_way_core_ GUARDED_BY(mutex_);
};

template <typename Rpc>
class Collector<Rpc>::Call : public RpcCall<typename Rpc::Request, typename Rpc::Response> {
  using Base = RpcCall<typename Rpc::Request, typename Rpc::Response>;
  using typename Base::Next;

 public:
  Call(const std::shared_ptr<Core>& core_of_client, std::shared_ptr<Collector> collector,
       std::shared_ptr<Departure> departure)
      : Base(core_of_client, Rpc::kMethod,
             TimeBudget(std::max(absl::ZeroDuration(), departure->last_deadline - Elapsed()))),
        collector_(std::move(collector)),
        departure_(std::move(departure)),
        ops_(departure_->ops) {
    if constexpr (requires { this->request()->set_max_bytes(1); }) {
      this->request()->set_max_bytes(core_of_client->options().batch_bytes_max);
    }
    for (const auto& op : ops_) Rpc::Add(std::move(op->item), this->request());
  }

 private:
  Next OnResponse(typename Rpc::Response* response) override {
    auto* answers = response->mutable_results();
    if (static_cast<size_t>(answers->size()) != ops_.size()) {
      const absl::Status error = absl::InternalError(absl::StrCat(
          "the server answered ", answers->size(), " results for ", ops_.size(), " items"));
      results_.assign(ops_.size(), Result(error));
      return Next::kEnd;
    }
    results_.clear();
    results_.reserve(ops_.size());
    std::vector<size_t> left;  // indexes into the request
    bool unavailable = false;
    for (size_t i = 0; i < ops_.size(); ++i) {
      auto* answer = answers->Mutable(static_cast<int>(i));
      if (Rpc::DidNotFit(*answer) && !IsLarge(*answer)) {
        left.push_back(i);
        results_.push_back(absl::InternalError("the server sent no payload"));
        continue;
      }
      results_.push_back(Rpc::Read(answer));
      if (!absl::IsUnavailable(StatusOf(results_.back()))) continue;
      unavailable = true;
      left.push_back(i);
    }
    // At least one payload comes with each answer; a server that sends none would be asked for
    // ever.
    if (left.empty() || (!unavailable && left.size() == ops_.size())) return Next::kEnd;
    AnswerAllBut(left);
    return unavailable ? Next::kAgainLater : Next::kAgain;
  }

  Completion::Then OnEnd(const absl::Status& status) override {
    if (!status.ok()) results_.assign(ops_.size(), Result(status));
    return [collector = collector_, departure = departure_, ops = std::move(ops_),
            results = std::move(results_)]() mutable {
      collector->OnArrived(departure);
      collector->OnAnswered(ops, std::move(results));
    };
  }

  // What does not come by itself in the next message either.
  template <typename Answer>
  bool IsLarge(const Answer& answer) {
    if constexpr (requires { answer.size_bytes(); }) {
      return answer.size_bytes() >
             std::min<uint64_t>(kMessageDataBytesMax, this->request()->max_bytes());
    }
    return false;
  }

  void AnswerAllBut(const std::vector<size_t>& left) {
    Ops answered;
    Ops kept;
    std::vector<Result> results;
    auto* items = Rpc::Items(this->request());
    for (size_t i = 0; i < ops_.size(); ++i) {
      if (kept.size() < left.size() && left[kept.size()] == i) {
        items->SwapElements(static_cast<int>(kept.size()), static_cast<int>(i));
        kept.push_back(std::move(ops_[i]));
        continue;
      }
      answered.push_back(std::move(ops_[i]));
      results.push_back(std::move(results_[i]));
    }
    const int count = static_cast<int>(kept.size());
    items->DeleteSubrange(count, items->size() - count);
    ops_ = std::move(kept);
    // Their callbacks run when this completion is through, and without the core.
    Dispatcher::Post(this->core()->dispatcher(), [collector = collector_, ops = std::move(answered),
                                                  answers = std::move(results)]() mutable {
      collector->OnAnswered(ops, std::move(answers));
    });
  }

  const std::shared_ptr<Collector> collector_;
  const std::shared_ptr<Departure> departure_;
  Ops ops_;  // of the request's items, in their order
  std::vector<Result> results_;
};

}  // namespace mayfly::client
