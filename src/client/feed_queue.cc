#include "client/feed_queue.h"

#include <algorithm>
#include <utility>

#include "client/convert.h"
#include "client/limits.h"

namespace mayfly::client {
void FeedQueue::Subscribe(const std::string& call_id) {
  if (waiting_.emplace(call_id, false).second) to_subscribe_.push_back(call_id);
}

void FeedQueue::Unsubscribe(const std::string& call_id) {
  if (StopWaitingFor(call_id)) to_unsubscribe_.push_back(call_id);
}

std::vector<std::string> FeedQueue::StopWaiting() {
  std::vector<std::string> call_ids;
  for (const auto& [call_id, is_subscribed] : waiting_) call_ids.push_back(call_id);
  waiting_.clear();
  return call_ids;
}

bool FeedQueue::StopWaitingFor(const std::string& call_id) {
  const auto waiting = waiting_.find(call_id);
  if (waiting == waiting_.end()) return false;
  subscribed_count_ -= waiting->second ? 1 : 0;
  waiting_.erase(waiting);
  return true;
}

bool FeedQueue::ReturnCredit(uint32_t items, uint64_t bytes) {
  taken_items_ -= items;
  taken_bytes_ -= bytes;
  credit_items_ += items;
  credit_bytes_ += bytes;
  return credit_items_ >= (settings_.window_items + 1) / 2 ||
         credit_bytes_ >= settings_.window_bytes / 2;
}

void FeedQueue::Reopen() {
  opened_ = false;
  subscribed_count_ = 0;
  to_subscribe_.clear();
  for (auto& [call_id, is_subscribed] : waiting_) {
    is_subscribed = false;
    to_subscribe_.push_back(call_id);
  }
  to_unsubscribe_.clear();
  credit_items_ = settings_.window_items - std::min(settings_.window_items, taken_items_);
  credit_bytes_ = settings_.window_bytes - std::min(settings_.window_bytes, taken_bytes_);
}

bool FeedQueue::FillRequest(v1::SubscriptionRequest* request) {
  if (!opened_) {
    request->mutable_open()->set_claim_token(token_);
    request->mutable_open()->set_max_bytes(settings_.message_data_bytes_max);
    ToProto(settings_.lease, request->mutable_open()->mutable_lease());
    opened_ = true;
  }
  FillSubscriptions(request);
  FillUnsubscriptions(request);
  FillCredit(request);
  return request->has_open() || request->has_credit() || request->subscribe_call_ids_size() > 0 ||
         request->unsubscribe_call_ids_size() > 0;
}

void FeedQueue::FillSubscriptions(v1::SubscriptionRequest* request) {
  while (!to_subscribe_.empty() && subscribed_count_ < settings_.subscriptions_max &&
         request->subscribe_call_ids_size() < static_cast<int>(kBatchItemsMax)) {
    const auto waiting = waiting_.find(to_subscribe_.front());
    if (waiting != waiting_.end() && !waiting->second) {
      waiting->second = true;
      ++subscribed_count_;
      request->add_subscribe_call_ids(std::move(to_subscribe_.front()));
    }
    to_subscribe_.pop_front();
  }
}

void FeedQueue::FillUnsubscriptions(v1::SubscriptionRequest* request) {
  size_t left = kBatchItemsMax;
  for (; left > 0 && !to_unsubscribe_.empty(); --left, to_unsubscribe_.pop_front()) {
    std::string& call_id = to_unsubscribe_.front();
    // It may be waited for again, and be subscribed by this very message.
    const auto waiting = waiting_.find(call_id);
    const bool is_subscribed = waiting != waiting_.end() && waiting->second;
    if (!is_subscribed) request->add_unsubscribe_call_ids(std::move(call_id));
  }
}

void FeedQueue::FillCredit(v1::SubscriptionRequest* request) {
  if (credit_items_ == 0 && credit_bytes_ == 0) return;
  request->mutable_credit()->set_item_count(credit_items_);
  request->mutable_credit()->set_bytes(credit_bytes_);
  credit_items_ = 0;
  credit_bytes_ = 0;
}

FeedQueue::Expected FeedQueue::Take(const v1::SubscriptionResponse& response) {
  Expected expected;
  for (const v1::ClaimedOutput& output : response.outputs()) {
    expected.outputs.push_back(StopWaitingFor(output.call_id()));
    ++taken_items_;
    taken_bytes_ += output.payload().data().size();
  }
  for (const v1::EndedCall& ended : response.ended()) {
    expected.ends.push_back(StopWaitingFor(ended.call_id()));
  }
  return expected;
}

}  // namespace mayfly::client
