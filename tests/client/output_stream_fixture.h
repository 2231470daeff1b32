// What the tests of output streams start from: calls, and a look at what became of them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include <gtest/gtest.h>

#include "client/client_fixture.h"
#include "mayfly/output_stream.h"

namespace mayfly::client {

class OutputStreamTest : public ClientFixture {
 protected:
  std::vector<std::string> NewCalls(int count) {
    std::vector<std::string> ids;
    for (const auto& put : client_.PutInputs(std::vector<Input>(count))) {
      ids.push_back(put->call_id);
    }
    return ids;
  }
  std::vector<std::string> NewReadyCalls(int count) {
    std::vector<std::string> ids = NewCalls(count);
    for (const std::string& id : ids) server_.AddOutput(id, 1, "output of " + id);
    return ids;
  }
  // Takes events until there is none to come; every call is told of once, with its own output.
  std::map<std::string, ClaimedOutput> TakeAll(const OutputStream& stream) {
    std::map<std::string, ClaimedOutput> outputs;
    while (true) {
      absl::StatusOr<OutputEvent> event = stream.Next(absl::Seconds(20));
      if (absl::IsOutOfRange(event.status())) return outputs;
      EXPECT_TRUE(event.ok()) << event.status();
      if (!event.ok()) return outputs;
      EXPECT_TRUE(event->output.ok()) << event->output.status();
      if (!event->output.ok()) continue;
      EXPECT_EQ(event->output->claim.call_id, event->call_id);
      EXPECT_EQ(event->output->payload.data, "output of " + event->call_id);
      EXPECT_TRUE(outputs.emplace(event->call_id, *event->output).second) << "told twice";
    }
  }
  size_t CountIn(CallState state, const std::vector<std::string>& ids) {
    size_t count = 0;
    for (const auto& call : client_.DescribeCalls(ids)) count += call->state == state ? 1 : 0;
    return count;
  }
  bool WaitForCount(CallState state, const std::vector<std::string>& ids, size_t count) {
    const absl::Time until = absl::Now() + absl::Seconds(20);
    while (CountIn(state, ids) != count) {
      if (absl::Now() > until) return false;
    }
    return true;
  }
  // The first messages of the subscriptions so far.
  std::vector<v1::SubscriptionRequest> Openings() {
    std::vector<v1::SubscriptionRequest> openings;
    for (const auto& request : server_.RequestsOf<v1::SubscriptionRequest>()) {
      if (request.has_open()) openings.push_back(request);
    }
    return openings;
  }
};

}  // namespace mayfly::client
