// A BatchCall carries a caller's batch, of any number of items, through one RPC. It splits the
// items into requests that fit the server's limits (parts), has a few parts under way at a time,
// and gathers one result for each item.
//
// Items that come back UNAVAILABLE are sent again, without their neighbours; so are items whose
// payload did not fit into the response, and inputs whose id was minted by another clock than the
// server's. rpcs.h says for each RPC how items and results are read.
// The parts share the BatchCall, and run on the core's thread.
#pragma once

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/mutex.h"
#include "client/limits.h"
#include "client/operation.h"
#include "client/rpc_call.h"

namespace mayfly::client {

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

template <typename Rpc>
class BatchCall : public Operation {
 public:
  using Item = typename Rpc::Item;
  using Result = typename Rpc::Result;
  using Request = typename Rpc::Request;
  using Response = typename Rpc::Response;
  using Done = absl::AnyInvocable<void(std::vector<Result>)>;

  // `prototype` has the fields of the request beside its items.
  static void Start(std::shared_ptr<Core> core, std::vector<Item> items, Request prototype,
                    TimeBudget budget, Done done,
                    const std::optional<Cancellation>& cancellation = std::nullopt) {
    const bool is_empty = items.empty();
    auto batch = std::shared_ptr<BatchCall>(
        new BatchCall(core, std::move(items), std::move(prototype), budget, std::move(done)));
    if (IsCancelled(cancellation)) batch->GiveUpRest();
    // parts_under_way_ starts at 1, so that the batch does not end while its first parts are
    // started.
    for (int i = 0; i < kPartsMax; ++i) batch->StartPart();
    batch->CancelWith(cancellation);
    Completion::Then then = batch->EndPart();
    if (then == nullptr) return;
    // Callbacks have one thread, also when the answers were faster than this one.
    if (is_empty) return then();
    Dispatcher::Post(core->dispatcher(), std::move(then));
  }

  void OnCancel() override EXCLUDES_LOCK(mutex_) {
    GiveUpRest();
    std::vector<std::weak_ptr<Part>> parts;
    {
      MutexLock lock(&mutex_);
      parts.swap(parts_);
    }
    for (const auto& weak : parts) {
      if (const auto part = weak.lock()) part->CancelNow();
    }
  }
  void OnDeadline() override {}  // its parts keep to the budget

 private:
  class Part;
  static constexpr int kPartsMax = 4;

  BatchCall(std::shared_ptr<Core> core, std::vector<Item> items, Request prototype,
            TimeBudget budget, Done done)
      : Operation(*core),
        core_(std::move(core)),
        prototype_(std::move(prototype)),
        budget_(budget),
        done_(std::move(done)),
        items_(std::move(items)),
        results_(items_.size(), Result(absl::InternalError("not asked"))) {}

  // Has the items that are in no part yet end with CANCELLED.
  void GiveUpRest() EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    for (; next_ < items_.size(); ++next_) results_[next_] = CancelledByCaller();
  }

  // Takes the next items that fit into one request; empty when there are none.
  std::vector<size_t> Cut(Request* request, typename Rpc::Ids* ids) EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    std::vector<size_t> places;
    size_t request_bytes = 0;
    for (; next_ < items_.size() && places.size() < kBatchItemsMax; ++next_) {
      const size_t bytes = Rpc::SizeBytes(items_[next_]) + kItemOverheadBytesMax;
      if (bytes > kMessageBytesMax) {
        results_[next_] =
            LimitError(Reason::kPayloadTooLarge, "payload_bytes", bytes - kItemOverheadBytesMax,
                       kMessageBytesMax - kItemOverheadBytesMax, "bytes");
        continue;
      }
      request_bytes += bytes;
      if (!places.empty() && request_bytes > core_->options().batch_bytes_max) break;
      ids->Add(&items_[next_]);
      Rpc::Add(std::move(items_[next_]), request);
      places.push_back(next_);
    }
    parts_under_way_ += places.empty() ? 0 : 1;
    return places;
  }

  void StartPart() {
    auto part = std::make_shared<Part>(SharedFrom(this));
    if (!part->Fill()) return;
    part->Start();
    MutexLock lock(&mutex_);
    parts_.push_back(part);
  }

  Completion::Then EndPart() EXCLUDES_LOCK(mutex_) {
    {
      MutexLock lock(&mutex_);
      if (--parts_under_way_ > 0) return nullptr;
    }
    this->Finish();
    return [done = std::move(done_), results = std::move(results_)]() mutable {
      done(std::move(results));
    };
  }

  const std::shared_ptr<Core> core_;
  const Request prototype_;
  const TimeBudget budget_;
  Done done_;

  Mutex mutex_;
  int parts_under_way_ GUARDED_BY(mutex_) = 1;
  size_t next_ GUARDED_BY(mutex_) = 0;
  std::vector<std::weak_ptr<Part>> parts_ GUARDED_BY(mutex_);  // that were started
  std::vector<Item> items_ GUARDED_BY(mutex_);
  std::vector<Result> results_;  // an element belongs to the part that has its item
};

template <typename Rpc>
class BatchCall<Rpc>::Part : public RpcCall<Request, Response> {
  using Base = RpcCall<Request, Response>;
  using typename Base::Next;

 public:
  explicit Part(std::shared_ptr<BatchCall> batch)
      : Base(batch->core_, Rpc::kMethod, batch->budget_), batch_(std::move(batch)) {
    *this->request() = batch_->prototype_;
  }

  // False when no items are left.
  bool Fill() {
    places_ = batch_->Cut(this->request(), &ids_);
    return !places_.empty();
  }

 private:
  Next OnResponse(Response* response) override {
    auto* answers = response->mutable_results();
    if (static_cast<size_t>(answers->size()) != places_.size()) {
      SetAll(absl::InternalError(absl::StrCat("the server answered ", answers->size(),
                                              " results for ", places_.size(), " items")));
      return Next::kEnd;
    }
    std::vector<size_t> left;  // indexes into the request
    bool unavailable = false;
    bool has_new_ids = false;
    uint64_t smallest_left = std::numeric_limits<uint64_t>::max();
    for (size_t i = 0; i < places_.size(); ++i) {
      auto* answer = answers->Mutable(static_cast<int>(i));
      if (Rpc::DidNotFit(*answer)) {
        smallest_left = std::min(smallest_left, BytesOf(*answer));
        batch_->results_[places_[i]] = absl::OutOfRangeError(
            absl::StrCat("payload is ", BytesOf(*answer), " bytes and does not come in a message"));
        left.push_back(i);
        continue;
      }
      Result result = Rpc::Read(answer);
      if (absl::IsUnavailable(StatusOf(result))) {
        unavailable = true;
        left.push_back(i);
      } else if (ids_.MintAgain(i, StatusOf(result), ItemAt(i))) {
        has_new_ids = true;
        left.push_back(i);
      }
      batch_->results_[places_[i]] = std::move(result);
    }
    // Without this, a server that never sends a payload would be asked for ever.
    const bool has_more_room = MakeRoom(smallest_left);
    const bool moved_on = left.size() < places_.size() || has_more_room || has_new_ids;
    Keep(left);
    if (left.empty() || (!unavailable && !moved_on)) return Next::kEnd;
    return unavailable ? Next::kAgainLater : Next::kAgain;
  }

  Completion::Then OnEnd(const absl::Status& status) override {
    if (!status.ok()) SetAll(status);
    batch_->StartPart();
    return batch_->EndPart();
  }

  template <typename Answer>
  static uint64_t BytesOf(const Answer& answer) {
    if constexpr (requires { answer.size_bytes(); }) return answer.size_bytes();
    return 0;
  }

  // Has a payload of this size come with the next answer. False when it ought to have come with
  // this one, or no message holds it.
  bool MakeRoom(uint64_t bytes) {
    if constexpr (requires { this->request()->set_max_bytes(bytes); }) {
      if (bytes <= this->request()->max_bytes() || bytes > kMessageBytesMax) return false;
      this->request()->set_max_bytes(bytes);
      return true;
    }
    return false;
  }

  void SetAll(const absl::Status& status) {
    for (size_t place : places_) batch_->results_[place] = status;
  }

  auto* ItemAt(size_t index) {
    return Rpc::Items(this->request())->Mutable(static_cast<int>(index));
  }

  void Keep(const std::vector<size_t>& left) {
    ids_.Keep(left);
    auto* items = Rpc::Items(this->request());
    for (size_t i = 0; i < left.size(); ++i) {
      items->SwapElements(static_cast<int>(i), static_cast<int>(left[i]));
      places_[i] = places_[left[i]];
    }
    const int kept = static_cast<int>(left.size());
    items->DeleteSubrange(kept, items->size() - kept);
    places_.resize(left.size());
  }

  const std::shared_ptr<BatchCall> batch_;
  std::vector<size_t> places_;  // of the request's items in the batch
  [[no_unique_address]] typename Rpc::Ids ids_;
};

}  // namespace mayfly::client
