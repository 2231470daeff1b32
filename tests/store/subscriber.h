// A Subscriber owns a Subscription as a stream would, and keeps what it is told until a test asks.
// Every wait has a deadline: what does not come within it counts as not coming.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "base/mutex.h"
#include "store/store_harness.h"

namespace mayfly {

class Subscriber {
 public:
  static constexpr absl::Duration kPatience = absl::Seconds(60);
  static constexpr uint64_t kMuch = uint64_t{1} << 40;

  struct Options {
    uint64_t token = 1;
    int64_t lease_ms = 30'000;
    uint64_t bytes_max = 64 << 20;
    // Whether what was told counts as sent at once.
    bool sends = true;
    Tenant* owner = nullptr;
  };

  Subscriber(StoreHarness* harness, const Options& options)
      : token_(options.token), sends_(options.sends) {
    const SubscribeRequest request{.token = MakeToken(options.token),
                                   .lease_ms = options.lease_ms,
                                   .bytes_max = options.bytes_max};
    Tenant* const tenant = options.owner != nullptr ? options.owner : harness->tenant();
    subscription_ = harness->store()->Subscribe(tenant, request, [this](Delivery delivery) {
      const size_t count = delivery.outputs.size() + delivery.ended.size();
      uint64_t bytes = 0;
      for (const ClaimedOutput& output : delivery.outputs) {
        if (output.payload.has_value()) bytes += output.stored.size_bytes;
      }
      Keep(std::move(delivery));
      if (sends_ && count > 0) told_by_->Sent(count, bytes);
    });
    told_by_ = subscription_.get();
  }
  ~Subscriber() { End(); }
  Subscriber(const Subscriber&) = delete;
  Subscriber& operator=(const Subscriber&) = delete;

  Subscription* operator->() { return subscription_.get(); }
  uint64_t token() const { return token_; }

  void GrantMuch() { subscription_->Grant(1'000'000, kMuch); }

  std::optional<ClaimedOutput> NextOutput() { return Next(&outputs_); }
  std::optional<EndedCall> NextEnded() { return Next(&ended_); }
  // Not OK once it was told to stop.
  absl::Status NextStop() { return Next(&stops_).value_or(absl::OkStatus()); }
  // What has come by now.
  std::vector<ClaimedOutput> TakeOutputs() { return Take(&outputs_); }
  std::vector<EndedCall> TakeEnded() { return Take(&ended_); }

  // Blocks until no claim of it is left. False when that does not come to be.
  bool End() {
    if (subscription_ == nullptr) return true;
    BeginEnd();
    return FinishEnd();
  }
  void BeginEnd(ClaimsAtEnd claims = ClaimsAtEnd::kRelease) {
    subscription_->End(claims, [this] {
      MutexLock lock(&mutex_);
      is_over_ = true;
      changed_.NotifyAll();
    });
  }
  // Ends it so that its claims may pass to a successor. False when that does not come to be.
  bool Part(ClaimsAtEnd claims) {
    BeginEnd(claims);
    const absl::Time give_up = absl::Now() + kPatience;
    MutexLock lock(&mutex_);
    while (!is_over_ && absl::Now() < give_up) changed_.WaitFor(&mutex_, kLook);
    subscription_ = nullptr;
    return is_over_;
  }
  // Also false when somebody else still owns the Subscription, `patience` after.
  bool FinishEnd(absl::Duration patience = kPatience) {
    const absl::Time give_up = absl::Now() + patience;
    {
      MutexLock lock(&mutex_);
      while (!is_over_ && absl::Now() < give_up) changed_.WaitFor(&mutex_, kLook);
      if (!is_over_) return false;
    }
    const std::weak_ptr<Subscription> rest = std::exchange(subscription_, nullptr);
    while (!rest.expired() && absl::Now() < give_up) absl::SleepFor(kLook);
    return rest.expired();
  }

 private:
  static constexpr absl::Duration kLook = absl::Milliseconds(1);

  void Keep(Delivery delivery) {
    MutexLock lock(&mutex_);
    std::move(delivery.outputs.begin(), delivery.outputs.end(), std::back_inserter(outputs_));
    std::move(delivery.ended.begin(), delivery.ended.end(), std::back_inserter(ended_));
    if (!delivery.status.ok()) stops_.push_back(std::move(delivery.status));
    changed_.NotifyAll();
  }

  template <typename T>
  std::optional<T> Next(std::deque<T>* kept) {
    const absl::Time give_up = absl::Now() + kPatience;
    MutexLock lock(&mutex_);
    while (kept->empty() && absl::Now() < give_up) changed_.WaitFor(&mutex_, absl::Seconds(1));
    if (kept->empty()) return std::nullopt;
    T next = std::move(kept->front());
    kept->pop_front();
    return next;
  }

  template <typename T>
  std::vector<T> Take(std::deque<T>* kept) {
    MutexLock lock(&mutex_);
    std::vector<T> taken(std::make_move_iterator(kept->begin()),
                         std::make_move_iterator(kept->end()));
    kept->clear();
    return taken;
  }

  const uint64_t token_;
  const bool sends_;
  std::shared_ptr<Subscription> subscription_;
  Subscription* told_by_ = nullptr;  // which is there as long as it tells
  Mutex mutex_;
  ConditionVariable changed_;
  std::deque<ClaimedOutput> outputs_ GUARDED_BY(mutex_);
  std::deque<EndedCall> ended_ GUARDED_BY(mutex_);
  std::deque<absl::Status> stops_ GUARDED_BY(mutex_);
  bool is_over_ GUARDED_BY(mutex_) = false;
};

}  // namespace mayfly
