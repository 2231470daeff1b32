// RPCs that are cancelled at any moment: nothing is used after its destruction (checked by
// sanitizers), and no claim remains afterwards.

#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "e2e/subscription_call.h"
#include "rpc/served_store.h"
#include "support/random_seed.h"

namespace mayfly {
namespace {

constexpr int kRounds = 150;
// More than the sockets' buffers take, so that an answer with it leaves the server as the client
// reads.
constexpr size_t kLargeBytes = 32 << 20;

class CancelTest : public ::testing::Test {
 protected:
  CancelTest() : seed_(RandomSeed()), random_(seed_) {
    served_.harness.config.storage.durability = Config::Durability::kRelaxed;
    served_.Start();
  }

  std::string Trace() const { return absl::StrCat("seed ", seed_); }
  // Cancels some time from now, up to what a round takes.
  std::thread CancelSoon(grpc::ClientContext* context, int64_t us_max) {
    const auto delay = absl::Microseconds(random_() % us_max);
    return std::thread([context, delay] {
      absl::SleepFor(delay);
      context->TryCancel();
    });
  }
  bool NothingIsClaimed() {
    const absl::Time give_up = absl::Now() + kPatience;
    absl::Duration passed;
    while (served_.tenant()->ledger.claims() > 0 && absl::Now() < give_up) {
      absl::SleepFor(absl::Milliseconds(1));
      // Those of a session wait for the client to come back; a lease would last for longer.
      if (passed >= absl::Seconds(10)) continue;
      passed += absl::Milliseconds(10);
      served_.harness.clock.Advance(absl::Milliseconds(10));
      served_.harness.Settle();
    }
    return served_.tenant()->ledger.claims() == 0;
  }
  void FillUpload(v1::UploadHeader* header, const CallId& id) {
    header->set_upload_id(NewClaimToken());
    header->mutable_input()->set_call_id(id.ToString());
  }

  const uint64_t seed_;
  ServedStore served_;
  std::mt19937_64 random_;
};

TEST_F(CancelTest, OutputStreamsHoldNothing) {
  SCOPED_TRACE(Trace());
  std::vector<CallId> ids;
  for (int i = 0; i < 8; ++i) ids.push_back(served_.NewOutput(std::string(1000, 'x')));
  for (int round = 0; round < 4 * kRounds; ++round) {
    grpc::ClientContext context;
    const auto stream = served_.client->stub()->Session(&context);
    std::thread canceller = CancelSoon(&context, 2000);
    v1::SessionRequest message;
    v1::SubscriptionRequest* const opening = message.add_subscriptions();
    *opening = SubscriptionCall::Opening();
    for (const CallId& id : ids) opening->add_subscribe_call_ids(id.ToString());
    const std::string token = opening->open().claim_token();
    stream->Write(message);
    v1::SessionResponse response;
    while (stream->Read(&response)) {
      v1::SessionRequest releases;
      for (const v1::SubscriptionResponse& part : response.subscriptions()) {
        for (const v1::ClaimedOutput& output : part.outputs()) {
          v1::ReleaseItem* const release =
              releases.add_requests()->mutable_release_outputs()->add_items();
          release->set_call_id(output.call_id());
          release->set_claim_token(token);
          release->set_fence(output.fence());
          releases.add_subscriptions()->add_subscribe_call_ids(output.call_id());
          if (releases.subscriptions_size() >= 16) {
            stream->Write(releases);
            releases.Clear();
          }
        }
      }
      stream->Write(releases);
    }
    canceller.join();
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  EXPECT_TRUE(NothingIsClaimed());
  // Nobody waits for them any more either: one who comes gets all.
  SubscriptionCall last(served_.client.get());
  v1::SubscriptionRequest request = SubscriptionCall::Opening();
  for (const CallId& id : ids) request.add_subscribe_call_ids(id.ToString());
  ASSERT_TRUE(last.Write(request));
  for (size_t i = 0; i < ids.size(); ++i) EXPECT_NE(last.NextOutput().call_id(), "");
}

// A stream that continued after its client has disconnected would claim later outputs.
TEST_F(CancelTest, OutputStreamsTakeNothingThatComesLater) {
  SCOPED_TRACE(Trace());
  for (int round = 0; round < kRounds; ++round) {
    const CallId id = served_.NewInput();
    grpc::ClientContext context;
    const auto stream = served_.client->stub()->Session(&context);
    std::thread canceller = CancelSoon(&context, 1000);
    v1::SessionRequest message;
    *message.add_subscriptions() = SubscriptionCall::Opening();
    message.mutable_subscriptions(0)->add_subscribe_call_ids(id.ToString());
    stream->Write(message);
    canceller.join();
    stream->Finish();
    served_.PutOutput(id);
    EXPECT_TRUE(NothingIsClaimed()) << "round " << round;
  }
}

// Large outputs, so that most are cancelled between the claim and the last byte of the answer. The
// clock stands: no lease lapses.
TEST_F(CancelTest, ClaimsHoldNothingThatDidNotArrive) {
  SCOPED_TRACE(Trace());
  const CallId id = served_.NewOutput(std::string(kLargeBytes, 'x'));
  int cancelled = 0;
  for (int round = 0; round < kRounds / 3; ++round) {
    grpc::ClientContext context;
    v1::ClaimOutputsRequest request;
    request.add_call_ids(id.ToString());
    request.set_claim_token(NewClaimToken());
    request.set_max_bytes(kLargeBytes);
    v1::ClaimOutputsResponse response;
    std::thread canceller = CancelSoon(&context, 20'000);
    const grpc::Status status = served_.client->stub()->ClaimOutputs(&context, request, &response);
    canceller.join();
    // None when the server has come to the last round's claim only now.
    if (status.ok() && response.outputs_size() > 0) {
      // It arrived while the server may have been told otherwise: the claim may be released.
      served_.client->Release(id.ToString(), request.claim_token(), response.outputs(0).fence());
    }
    cancelled += status.ok() ? 0 : 1;
    ASSERT_TRUE(NothingIsClaimed()) << "round " << round;
  }
  EXPECT_GT(cancelled, 0);
}

TEST_F(CancelTest, Downloads) {
  SCOPED_TRACE(Trace());
  const CallId id = served_.harness.NewId();
  const std::string data(5 << 20, 'x');
  ASSERT_TRUE(served_.harness.PutInput(id, data, absl::Hours(1), served_.tenant()).status.ok());
  for (int round = 0; round < kRounds; ++round) {
    grpc::ClientContext context;
    v1::DownloadRequest request;
    request.set_call_id(id.ToString());
    request.set_kind(v1::PAYLOAD_KIND_INPUT);
    const auto stream = served_.worker->stub()->Download(&context, request);
    std::thread canceller = CancelSoon(&context, 20'000);
    v1::DownloadResponse response;
    bool is_whole = false;
    while (stream->Read(&response)) is_whole |= response.has_finish();
    canceller.join();
    const bool is_ok = stream->Finish().ok();
    EXPECT_TRUE(is_whole || !is_ok);
  }
}

TEST_F(CancelTest, Uploads) {
  SCOPED_TRACE(Trace());
  const std::string segment(1 << 20, 'x');
  for (int round = 0; round < kRounds; ++round) {
    const CallId id = served_.harness.NewId();
    grpc::ClientContext context;
    v1::UploadResponse response;
    const auto stream = served_.client->stub()->Upload(&context, &response);
    std::thread canceller = CancelSoon(&context, 20'000);
    v1::UploadRequest request;
    FillUpload(request.mutable_header(), id);
    bool goes_on = stream->Write(request);
    for (uint64_t i = 0; goes_on && i < 4; ++i) {
      request.mutable_segment()->set_offset_bytes(i << 20);
      request.mutable_segment()->set_data(segment);
      goes_on = stream->Write(request);
    }
    request.mutable_finish()->set_size_bytes(4 << 20);
    request.mutable_finish()->set_crc32c(Crc32c(AsBytes(segment + segment + segment + segment)));
    if (goes_on && stream->Write(request)) stream->WritesDone();
    canceller.join();
    const grpc::Status status = stream->Finish();
    // A payload that was answered OK is stored completely.
    const InputResult input = served_.harness.GetInput(id, served_.tenant());
    EXPECT_TRUE(input.status.ok() || !status.ok()) << input.status;
    EXPECT_EQ(input.size_bytes, input.status.ok() ? uint64_t{4} << 20 : 0);
  }
}

// Puts, and claims that wait, that are answered, and whose outputs come just then.
TEST_F(CancelTest, Sessions) {
  SCOPED_TRACE(Trace());
  for (int round = 0; round < kRounds; ++round) {
    const CallId ready = served_.NewOutput();
    const CallId pending = served_.NewInput();
    grpc::ClientContext context;
    const auto stream = served_.client->stub()->Session(&context);
    std::thread canceller = CancelSoon(&context, 5000);
    v1::SessionRequest message;
    for (const CallId& id : {ready, pending}) {
      v1::ClaimOutputsRequest* const claim = message.add_requests()->mutable_claim_outputs();
      claim->add_call_ids(id.ToString());
      claim->set_claim_token(NewClaimToken());
      claim->mutable_wait()->set_seconds(50);
    }
    bool goes_on = stream->Write(message);
    v1::SessionRequest puts;
    for (int i = 0; i < 20; ++i) {
      v1::InputItem* const item = puts.add_requests()->mutable_put_inputs()->add_items();
      item->set_call_id(served_.harness.NewId().ToString());
      item->mutable_payload()->set_data("in");
    }
    while (goes_on) goes_on = stream->Write(puts);
    served_.PutOutput(pending);
    canceller.join();
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
    // An answer that was written before the server knew keeps its claim, though nobody has read it.
    for (const CallId& id : {ready, pending}) {
      EXPECT_TRUE(served_.harness.Delete(id, served_.tenant()).status.ok());
    }
    ASSERT_TRUE(NothingIsClaimed()) << "round " << round;
  }
}

}  // namespace
}  // namespace mayfly
