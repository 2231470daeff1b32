#include "client/feed_queue.h"

#include <algorithm>
#include <utility>

#include "client/convert.h"
#include "client/limits.h"

namespace mayfly::client {
namespace {

template <typename T>
std::vector<T> TakeFirst(size_t count, std::deque<T>* queue) {
  std::vector<T> taken;
  for (; count > 0 && !queue->empty(); --count) {
    taken.push_back(std::move(queue->front()));
    queue->pop_front();
  }
  return taken;
}

}  // namespace

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

void FeedQueue::Ack(const Claim& claim, AckDone done) {
  to_ack_.push_back({.claim = claim, .done = std::move(done)});
}

void FeedQueue::Release(const Claim& claim, ReleaseDone done) {
  to_release_.push_back({.claim = claim, .done = std::move(done)});
}

bool FeedQueue::ReturnCredit(uint32_t items, uint64_t bytes) {
  taken_items_ -= items;
  taken_bytes_ -= bytes;
  credit_items_ += items;
  credit_bytes_ += bytes;
  return credit_items_ >= (settings_.window_items + 1) / 2 ||
         credit_bytes_ >= settings_.window_bytes / 2;
}

void FeedQueue::StartStream(std::string token) {
  token_ = std::move(token);
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

bool FeedQueue::FillRequest(v1::StreamOutputsRequest* request) {
  request->Clear();
  if (!opened_) {
    request->mutable_open()->set_claim_token(token_);
    request->mutable_open()->set_max_bytes(settings_.message_data_bytes_max);
    ToProto(settings_.lease, request->mutable_open()->mutable_lease());
    opened_ = true;
  }
  FillSubscriptions(request);
  FillUnsubscriptions(request);
  FillAcks(request);
  FillReleases(request);
  FillCredit(request);
  return request->has_open() || request->has_credit() || request->subscribe_call_ids_size() > 0 ||
         request->unsubscribe_call_ids_size() > 0 || request->acks_size() > 0 ||
         request->releases_size() > 0;
}

void FeedQueue::FillSubscriptions(v1::StreamOutputsRequest* request) {
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

void FeedQueue::FillUnsubscriptions(v1::StreamOutputsRequest* request) {
  for (std::string& call_id : TakeFirst(kBatchItemsMax, &to_unsubscribe_)) {
    // It may be waited for again, and be subscribed by this very message.
    const auto waiting = waiting_.find(call_id);
    const bool is_subscribed = waiting != waiting_.end() && waiting->second;
    if (!is_subscribed) request->add_unsubscribe_call_ids(std::move(call_id));
  }
}

void FeedQueue::FillAcks(v1::StreamOutputsRequest* request) {
  for (QueuedAck& ack : TakeFirst(kBatchItemsMax, &to_ack_)) {
    v1::AckItem* item = request->add_acks();
    item->set_call_id(std::move(ack.claim.call_id));
    item->set_fence(ack.claim.fence);
    if (ack.claim.crc32c.has_value()) item->set_crc32c(*ack.claim.crc32c);
    acks_.push_back(std::move(ack.done));
  }
}

void FeedQueue::FillReleases(v1::StreamOutputsRequest* request) {
  for (QueuedRelease& release : TakeFirst(kBatchItemsMax, &to_release_)) {
    v1::ReleaseItem* item = request->add_releases();
    item->set_call_id(std::move(release.claim.call_id));
    item->set_fence(release.claim.fence);
    releases_.push_back(std::move(release.done));
  }
}

void FeedQueue::FillCredit(v1::StreamOutputsRequest* request) {
  if (credit_items_ == 0 && credit_bytes_ == 0) return;
  request->mutable_credit()->set_item_count(credit_items_);
  request->mutable_credit()->set_bytes(credit_bytes_);
  credit_items_ = 0;
  credit_bytes_ = 0;
}

FeedQueue::Answered FeedQueue::TakeAnswered(const v1::StreamOutputsResponse& response) {
  Answered answered;
  answered.token = token_;
  for (const v1::ClaimedOutput& output : response.outputs()) {
    answered.expected_outputs.push_back(StopWaitingFor(output.call_id()));
    ++taken_items_;
    taken_bytes_ += output.payload().data().size();
  }
  for (const v1::EndedCall& ended : response.ended()) {
    answered.expected_ends.push_back(StopWaitingFor(ended.call_id()));
  }
  answered.acks = TakeFirst(response.ack_results_size(), &acks_);
  answered.releases = TakeFirst(response.release_results_size(), &releases_);
  return answered;
}

FeedQueue::Answered FeedQueue::EndStream() {
  Answered unanswered;
  unanswered.acks = TakeFirst(acks_.size(), &acks_);
  unanswered.releases = TakeFirst(releases_.size(), &releases_);
  for (QueuedAck& ack : to_ack_) unanswered.acks.push_back(std::move(ack.done));
  for (QueuedRelease& release : to_release_) unanswered.releases.push_back(std::move(release.done));
  to_ack_.clear();
  to_release_.clear();
  opened_ = false;
  return unanswered;
}

}  // namespace mayfly::client
