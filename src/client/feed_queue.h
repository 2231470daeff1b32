// A FeedQueue is what an OutputFeed waits for, and what it has to write: calls to subscribe to and
// to unsubscribe from, and credit. Everything leaves with the next message.
//
// A plain value without lock, thread or stream, guarded by the feed's lock. Not thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"

#include "mayfly/v1/function_io.pb.h"

namespace mayfly::client {

class FeedQueue {
 public:
  struct Settings {
    uint32_t window_items;
    uint64_t window_bytes;
    uint64_t message_data_bytes_max;  // larger outputs come without their data
    absl::Duration lease;
    size_t subscriptions_max;  // at a time; further calls are subscribed when others have ended
  };
  // Which outputs and ended calls of a response were waited for.
  struct Expected {
    std::vector<bool> outputs;
    std::vector<bool> ends;
  };

  // All claims will have this token.
  FeedQueue(const Settings& settings, std::string token)
      : settings_(settings), token_(std::move(token)) {}

  const std::string& token() const { return token_; }

  // Waiting for calls.
  void Subscribe(const std::string& call_id);
  void Unsubscribe(const std::string& call_id);
  bool IsWaiting() const { return !waiting_.empty(); }
  bool HasMoreToSubscribe() const { return !to_subscribe_.empty(); }
  // Returns the calls that were waited for.
  std::vector<std::string> StopWaiting();

  // Of outputs that leave the window. True when there is enough credit for a message of its own.
  bool ReturnCredit(uint32_t items, uint64_t bytes);

  // A new subscription has yet to be told everything.
  void Reopen();
  // Writes the next message; false when there is nothing to write.
  bool FillRequest(v1::SubscriptionRequest* request);
  // Counts the outputs and ends of a response.
  Expected Take(const v1::SubscriptionResponse& response);

 private:
  // False if nobody waited for the call.
  bool StopWaitingFor(const std::string& call_id);
  void FillSubscriptions(v1::SubscriptionRequest* request);
  void FillUnsubscriptions(v1::SubscriptionRequest* request);
  void FillCredit(v1::SubscriptionRequest* request);

  const Settings settings_;
  const std::string token_;
  // True: the subscription as it is now has the call.
  absl::flat_hash_map<std::string, bool> waiting_;
  size_t subscribed_count_ = 0;
  // How much of the window is taken: sent by the server as far as the feed knows, or with the
  // listener.
  uint32_t taken_items_ = 0;
  uint64_t taken_bytes_ = 0;

  bool opened_ = false;  // the first message was written
  std::deque<std::string> to_subscribe_;
  std::deque<std::string> to_unsubscribe_;
  uint32_t credit_items_ = 0;
  uint64_t credit_bytes_ = 0;
};

}  // namespace mayfly::client
