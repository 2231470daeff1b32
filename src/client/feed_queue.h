// A FeedQueue is what an OutputFeed waits for, and what it has to write to its stream:
// subscriptions, acks, releases and credit. Everything leaves with the next message.
//
// A plain value without lock, thread or stream, guarded by the feed's lock. Not thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "mayfly/call.h"
#include "mayfly/v1/function_io.pb.h"

namespace mayfly::client {

class FeedQueue {
 public:
  using AckDone = absl::AnyInvocable<void(absl::StatusOr<absl::Time>)>;
  using ReleaseDone = absl::AnyInvocable<void(absl::Status)>;

  struct Settings {
    uint32_t window_items;
    uint64_t window_bytes;
    uint64_t message_data_bytes_max;  // larger outputs come without their data
    absl::Duration lease;
    size_t subscriptions_max;  // at a time; further calls are subscribed when others have ended
  };
  // The callbacks that a response answers, in the order of its results, and which of its outputs
  // and ended calls were waited for.
  struct Answered {
    std::string token;
    std::vector<bool> expected_outputs;
    std::vector<bool> expected_ends;
    std::vector<AckDone> acks;
    std::vector<ReleaseDone> releases;
  };

  explicit FeedQueue(const Settings& settings) : settings_(settings) {}

  // Waiting for calls.
  void Subscribe(const std::string& call_id);
  void Unsubscribe(const std::string& call_id);
  bool IsWaiting() const { return !waiting_.empty(); }
  bool HasMoreToSubscribe() const { return !to_subscribe_.empty(); }
  // Returns the calls that were waited for.
  std::vector<std::string> StopWaiting();

  // Whether `claim` was made by the stream as it is now.
  bool IsOfStream(const Claim& claim) const { return opened_ && claim.token == token_; }
  void Ack(const Claim& claim, AckDone done);
  void Release(const Claim& claim, ReleaseDone done);
  // Of outputs that leave the window. True when there is enough credit for a message of its own.
  bool ReturnCredit(uint32_t items, uint64_t bytes);

  // A new stream, whose claims will have this token, has yet to be told everything.
  void StartStream(std::string token);
  // Writes the next message; false when there is nothing to write.
  bool FillRequest(v1::StreamOutputsRequest* request);
  // Counts the outputs and ends of a response.
  Answered TakeAnswered(const v1::StreamOutputsResponse& response);
  // The stream has broken; returns the callbacks that it has not answered.
  Answered EndStream();

 private:
  struct QueuedAck {
    Claim claim;
    AckDone done;
  };
  struct QueuedRelease {
    Claim claim;
    ReleaseDone done;
  };

  // False if nobody waited for the call.
  bool StopWaitingFor(const std::string& call_id);
  void FillSubscriptions(v1::StreamOutputsRequest* request);
  void FillUnsubscriptions(v1::StreamOutputsRequest* request);
  void FillAcks(v1::StreamOutputsRequest* request);
  void FillReleases(v1::StreamOutputsRequest* request);
  void FillCredit(v1::StreamOutputsRequest* request);

  const Settings settings_;
  // True: subscribed on the stream as it is now.
  absl::flat_hash_map<std::string, bool> waiting_;
  size_t subscribed_count_ = 0;
  // How much of the window is taken: sent by the server as far as the feed knows, or with the
  // listener.
  uint32_t taken_items_ = 0;
  uint64_t taken_bytes_ = 0;

  std::string token_;
  bool opened_ = false;  // the first message was written
  std::deque<std::string> to_subscribe_;
  std::deque<std::string> to_unsubscribe_;
  std::deque<QueuedAck> to_ack_;
  std::deque<QueuedRelease> to_release_;
  uint32_t credit_items_ = 0;
  uint64_t credit_bytes_ = 0;
  // Written, in order, and not answered.
  std::deque<AckDone> acks_;
  std::deque<ReleaseDone> releases_;
};

}  // namespace mayfly::client
