// Claims whose response was not delivered, and the state left by answered polls.
#include <malloc.h>
#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"

#include "base/error.h"
#include "store/call_store.h"
#include "store/store_harness.h"

namespace mayfly {
namespace {

class UnheardClaimTest : public testing::Test {
 protected:
  UnheardClaimTest() {
    harness_.Open();
    id_ = harness_.NewId();
    EXPECT_TRUE(harness_.PutInput(id_, "in").status.ok());
  }

  void PutOutput() { ASSERT_TRUE(harness_.PutOutput(id_, "out").status.ok()); }

  // A claim that was answered, and the handle that the RPC layer has of it.
  std::pair<ClaimedOutput, std::shared_ptr<ClaimHandle>> Claimed(uint64_t token) {
    Awaited<ClaimResponse> answer;
    std::shared_ptr<ClaimHandle> handle = harness_.store()->ClaimOutputs(
        harness_.tenant(), StoreHarness::MakeClaim({id_}, token), answer.callback());
    ClaimResponse response = answer.Get();
    return {std::move(response.outputs.at(0)), std::move(handle)};
  }

  StoreHarness harness_;
  CallId id_;
};

TEST_F(UnheardClaimTest, IsReleasedAtOnce) {
  PutOutput();
  const auto [unheard, handle] = Claimed(1);
  handle->ReleaseAnswer();
  const auto [heard, other] = Claimed(2);
  EXPECT_EQ(ReasonOf(harness_.Ack(id_, 1, unheard.fence).status), Reason::kClaimLost);
  EXPECT_TRUE(harness_.Ack(id_, 2, heard.fence).status.ok());
}

TEST_F(UnheardClaimTest, StaysWithARetryThatWasAnswered) {
  PutOutput();
  const auto [unheard, handle] = Claimed(1);
  const auto [heard, retry] = Claimed(1);
  handle->ReleaseAnswer();
  harness_.Settle();
  EXPECT_TRUE(harness_.Ack(id_, 1, heard.fence).status.ok());
}

TEST_F(UnheardClaimTest, StaysWithAnEarlierAnswerToTheSameToken) {
  PutOutput();
  const auto [heard, first] = Claimed(1);
  const auto [unheard, second] = Claimed(1);
  second->ReleaseAnswer();
  harness_.Settle();
  EXPECT_TRUE(harness_.Ack(id_, 1, heard.fence).status.ok());
}

TEST_F(UnheardClaimTest, StaysWithWhoHasRenewedIt) {
  PutOutput();
  const auto [unheard, handle] = Claimed(1);
  ASSERT_TRUE(harness_.Renew(id_, 1, unheard.fence, absl::Seconds(30)).status.ok());
  handle->ReleaseAnswer();
  harness_.Settle();
  EXPECT_TRUE(harness_.Ack(id_, 1, unheard.fence).status.ok());
}

TEST_F(UnheardClaimTest, ThatWasAckedStaysAcked) {
  PutOutput();
  const auto [output, handle] = Claimed(1);
  ASSERT_TRUE(harness_.Ack(id_, 1, output.fence).status.ok());
  handle->ReleaseAnswer();
  harness_.Settle();
  EXPECT_EQ(harness_.Phase(id_), CallPhase::kConsumed);
  EXPECT_EQ(harness_.tenant()->ledger.claims(), 0);
}

// Sanitizers count nothing here, and the test only runs through.
TEST_F(UnheardClaimTest, APollThatWasAnsweredKeepsNoMemoryForTheRestOfItsWait) {
  constexpr int kPolls = 20'000;
  const auto poll_and_cancel = [&](int count) {
    for (int i = 0; i < count; ++i) {
      ClaimRequest request = StoreHarness::MakeClaim({id_}, 1);
      request.wait_ms = 50'000;
      Awaited<ClaimResponse> answer;
      const auto handle =
          harness_.store()->ClaimOutputs(harness_.tenant(), std::move(request), answer.callback());
      handle->Cancel();
      answer.Get();
    }
    harness_.Settle();
  };
  poll_and_cancel(kPolls / 10);
  const auto before = static_cast<int64_t>(mallinfo2().uordblks);
  poll_and_cancel(kPolls);
  const int64_t kept_bytes = static_cast<int64_t>(mallinfo2().uordblks) - before;
  EXPECT_LT(kept_bytes / kPolls, 20);
}

}  // namespace
}  // namespace mayfly
