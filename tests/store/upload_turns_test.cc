// Uploads that fit on the disk alone and not together are finished one after another.
#include "store/upload_turns.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "storage/room.h"
#include "store/store_harness.h"
#include "support/sizes.h"

namespace mayfly {
namespace {

TEST(UploadTurns, TheYoungestGivesWayAndTheOldestNever) {
  UploadTurns turns;
  const uint64_t first = turns.Enter();
  const uint64_t second = turns.Enter();
  const uint64_t third = turns.Enter();
  EXPECT_EQ(turns.OnNoRoom(third, 0), std::nullopt) << "nobody is younger";
  EXPECT_EQ(turns.OnNoRoom(first, 0), third);
  EXPECT_EQ(turns.OnNoRoom(first, UploadTurns::kReclaimMs - 1), std::nullopt)
      << "the room of the last one may not be back yet";
  EXPECT_EQ(turns.OnNoRoom(first, UploadTurns::kReclaimMs), second);
  EXPECT_EQ(turns.OnNoRoom(first, 2 * UploadTurns::kReclaimMs), std::nullopt) << "it is alone";
}

TEST(UploadTurns, WhileAnOlderOneIsShortYoungerOnesTakeNothingAndNoneBegins) {
  UploadTurns turns;
  const uint64_t first = turns.Enter();
  const uint64_t second = turns.Enter();
  const uint64_t third = turns.Enter();
  EXPECT_TRUE(turns.MayBegin());
  turns.OnNoRoom(second, 0);
  EXPECT_TRUE(turns.MayTake(first));
  EXPECT_TRUE(turns.MayTake(second));
  EXPECT_FALSE(turns.MayTake(third));
  EXPECT_FALSE(turns.MayBegin());
  turns.OnRoom(second);
  EXPECT_TRUE(turns.MayTake(third));
  EXPECT_TRUE(turns.MayBegin());
  turns.OnNoRoom(second, 0);
  turns.Leave(second);
  EXPECT_TRUE(turns.MayBegin());
}

TEST(UploadTurns, OneThatDoesNotAskAgainHoldsUpNobody) {
  UploadTurns turns;
  const uint64_t first = turns.Enter();
  const uint64_t second = turns.Enter();
  turns.OnNoRoom(first, 1000);
  turns.Forget(1000 + UploadTurns::kForgetMs - 1);
  EXPECT_FALSE(turns.MayTake(second));
  turns.Forget(1000 + UploadTurns::kForgetMs);
  EXPECT_TRUE(turns.MayTake(second));
}

// A disk on which room comes back when an upload is removed or acknowledged, at the next measurement.
class UploadRoomTest : public testing::Test {
 protected:
  static constexpr int kUploads = 4;
  static constexpr int kSegments = 12;
  static constexpr uint64_t kSegmentRoom = RoomBudget::CostOfSegment(kSegmentBytes);
  // All of them get to three quarters.
  static constexpr uint64_t kDiskBytes = kUploads * 9 * kSegmentRoom;

  UploadRoomTest() {
    harness_.Open();
    harness_.hooks.room = &room_;
    Measure();
  }

  struct Client {
    CallId call_id;
    UploadId id{};
    std::optional<BegunUpload> begun;
    int sent = 0;
    bool is_finished = false;
  };

  void Measure() {
    uint64_t used = 0;
    for (const Client& client : clients_) used += client.sent * kSegmentRoom;
    room_.Update(room_.Mark(), {.free_bytes = kDiskBytes - std::min(used, kDiskBytes)});
  }

  // What a client does at once: goes on, resumes, or begins anew.
  void Advance(Client* client) {
    if (!client->begun.has_value()) {
      NewUpload upload;
      upload.id = client->id;
      upload.call_id = client->call_id;
      upload.ttl_ms = 3'600'000;
      upload.offset_bytes = client->sent * kSegmentBytes;
      auto begun = harness_.BeginUpload(upload);
      if (ReasonOf(begun.status()) == Reason::kUploadUnknown) client->sent = 0;
      if (!begun.ok()) return;
      client->begun = *std::move(begun);
    }
    if (client->sent < kSegments) {
      const absl::Status status =
          StoreHarness::Append(*client->begun, client->sent * kSegmentBytes, segment_);
      if (status.ok()) {
        ++client->sent;
      } else {
        EXPECT_EQ(ReasonOf(status), Reason::kDiskFull) << status;
        client->begun.reset();  // the RPC ends with it
      }
      return;
    }
    const auto finished = StoreHarness::Finish(*client->begun, whole_);
    ASSERT_TRUE(finished.ok()) << finished.status();
    client->is_finished = true;
    EXPECT_TRUE(harness_.Delete(client->call_id).status.ok());
    client->sent = 0;
  }

  StoreHarness harness_;
  RoomBudget room_{RoomLimits{}};
  std::vector<Client> clients_;
  const std::string segment_ = std::string(kSegmentBytes, 's');
  const std::string whole_ = std::string(kSegments * kSegmentBytes, 's');
};

TEST_F(UploadRoomTest, FourThatFillTheDiskTogetherAreAllFinished) {
  for (uint8_t i = 0; i < kUploads; ++i) {
    clients_.push_back({.call_id = harness_.NewId(), .id = UploadId{i}});
  }
  int finished = 0;
  // Seconds of the clock: a client retries after one, and room is measured every second.
  for (int second = 0; second < 200 && finished < kUploads; ++second) {
    for (int i = 0; i < kSegments; ++i) {
      for (Client& client : clients_) {
        if (!client.is_finished) Advance(&client);
      }
    }
    finished = 0;
    for (const Client& client : clients_) finished += client.is_finished ? 1 : 0;
    Measure();
    harness_.clock.Advance(absl::Seconds(1));
    harness_.store()->Tick();
  }
  EXPECT_EQ(finished, kUploads);
  EXPECT_EQ(harness_.tenant()->ledger.uploads(), 0);
  EXPECT_EQ(harness_.tenant()->ledger.taken_bytes(), 0);
}

}  // namespace
}  // namespace mayfly
