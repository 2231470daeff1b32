// Uploads that fit on the disk alone and not together are finished one after another.
#include "store/upload_turns.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "storage/room.h"
#include "store/store_harness.h"

namespace mayfly {
namespace {

constexpr int64_t kReclaimMs = UploadTurns::kReclaimMs;

TEST(UploadTurns, TheYoungestGivesWayAndTheOldestWaits) {
  UploadTurns turns;
  const uint64_t first = turns.Enter();
  const uint64_t second = turns.Enter();
  const uint64_t third = turns.Enter();
  UploadTurns::Shortage shortage = turns.OnNoRoom(first, 0);
  EXPECT_TRUE(shortage.waits);
  EXPECT_EQ(shortage.gives_way, third);
  shortage = turns.OnNoRoom(first, kReclaimMs - 1);
  EXPECT_TRUE(shortage.waits) << "the room of the last one may not be back yet";
  EXPECT_EQ(shortage.gives_way, std::nullopt);
  shortage = turns.OnNoRoom(first, kReclaimMs);
  EXPECT_TRUE(shortage.waits);
  EXPECT_EQ(shortage.gives_way, second);
  EXPECT_TRUE(turns.OnNoRoom(first, 2 * kReclaimMs - 1).waits);
  shortage = turns.OnNoRoom(first, 2 * kReclaimMs);
  EXPECT_FALSE(shortage.waits) << "it is alone, and no room will come";
  EXPECT_EQ(shortage.gives_way, std::nullopt);
}

TEST(UploadTurns, TheYoungestIsRefusedWhenItAsks) {
  UploadTurns turns;
  turns.Enter();
  const uint64_t second = turns.Enter();
  const UploadTurns::Shortage shortage = turns.OnNoRoom(second, 0);
  EXPECT_FALSE(shortage.waits);
  EXPECT_EQ(shortage.gives_way, second);
  EXPECT_FALSE(turns.MayBegin(kReclaimMs - 1)) << "its room is not for the next one";
  EXPECT_TRUE(turns.MayBegin(kReclaimMs));
}

TEST(UploadTurns, WhileAnOlderOneIsShortYoungerOnesTakeNothingAndNoneBegins) {
  UploadTurns turns;
  const uint64_t first = turns.Enter();
  const uint64_t second = turns.Enter();
  const uint64_t third = turns.Enter();
  turns.Enter();
  EXPECT_TRUE(turns.MayBegin(0));
  turns.OnNoRoom(second, 0);
  EXPECT_TRUE(turns.MayTake(first));
  EXPECT_TRUE(turns.MayTake(second));
  EXPECT_FALSE(turns.MayTake(third));
  EXPECT_FALSE(turns.MayBegin(kReclaimMs));
  turns.OnRoom(second);
  EXPECT_TRUE(turns.MayTake(third));
  EXPECT_TRUE(turns.MayBegin(kReclaimMs));
  turns.OnNoRoom(second, kReclaimMs);
  turns.Leave(second);
  EXPECT_TRUE(turns.MayBegin(2 * kReclaimMs));
}

TEST(UploadTurns, OneThatDoesNotAskAgainHoldsUpNobody) {
  UploadTurns turns;
  const uint64_t first = turns.Enter();
  const uint64_t second = turns.Enter();
  turns.Enter();
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
  ~UploadRoomTest() override {
    // The store answers what still waits.
    for (Client& client : clients_) client.begun.reset();
    harness_.Close();
  }

  struct Client {
    CallId call_id;
    UploadId id{};
    std::optional<BegunUpload> begun;
    std::unique_ptr<Awaited<absl::Status>> append;  // that is not answered yet
    int sent = 0;
    bool is_finished = false;
  };

  void Measure() {
    uint64_t used = 0;
    for (Client& client : clients_) {
      Awaited<absl::StatusOr<UploadProgress>> kept;
      if (client.append == nullptr && client.sent > 0) {
        harness_.store()->QueryUpload(harness_.tenant(), client.id, kept.callback());
        if (!kept.Get().ok()) client.sent = 0;
      }
      used += client.sent * kSegmentRoom;
    }
    room_.Update(room_.Mark(), {.free_bytes = kDiskBytes - std::min(used, kDiskBytes)});
  }

  // These clients never resume: each refusal makes another upload.
  void Begin(Client* client) {
    NewUpload upload;
    ++begun_count_;
    upload.id =
        UploadId{static_cast<uint8_t>(begun_count_ >> 8), static_cast<uint8_t>(begun_count_)};
    upload.call_id = client->call_id;
    upload.ttl_ms = 3'600'000;
    auto begun = harness_.BeginUpload(upload);
    if (!begun.ok()) return;
    client->begun = *std::move(begun);
    client->id = upload.id;
    client->sent = 0;
  }

  // One segment, unless the last one waits for room.
  void Advance(Client* client) {
    if (!client->begun.has_value()) return Begin(client);
    if (client->append == nullptr && client->sent == kSegments) return Finish(client);
    if (client->append == nullptr) {
      client->append = std::make_unique<Awaited<absl::Status>>();
      client->begun->stream->Append(
          {.offset_bytes = client->sent * kSegmentBytes, .data = segment_},
          client->append->callback());
      // Answered by a worker, or waiting.
      for (int i = 0; i < 200 && !client->append->is_answered(); ++i) {
        absl::SleepFor(absl::Milliseconds(1));
      }
    }
    if (!client->append->is_answered()) return;
    const absl::Status status = client->append->Get();
    client->append.reset();
    if (status.ok()) {
      ++client->sent;
      return;
    }
    EXPECT_EQ(ReasonOf(status), Reason::kDiskFull) << status;
    client->begun.reset();  // the RPC ends with it
  }

  void Finish(Client* client) {
    const auto finished = StoreHarness::Finish(*client->begun, whole_);
    ASSERT_TRUE(finished.ok()) << finished.status();
    client->is_finished = true;
    client->begun.reset();
    EXPECT_TRUE(harness_.Delete(client->call_id).status.ok());
    client->sent = 0;
  }

  StoreHarness harness_;
  RoomBudget room_{RoomLimits{}};
  std::vector<Client> clients_;
  int begun_count_ = 0;
  const std::string segment_ = std::string(kSegmentBytes, 's');
  const std::string whole_ = std::string(kSegments * kSegmentBytes, 's');
};

TEST_F(UploadRoomTest, FourThatFillTheDiskTogetherAreAllFinished) {
  for (int i = 0; i < kUploads; ++i) clients_.push_back({.call_id = harness_.NewId()});
  int finished = 0;
  // Seconds of the clock: room is measured every second.
  for (int second = 0; second < 200 && finished < kUploads; ++second) {
    for (int i = 0; i <= kSegments; ++i) {
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
  harness_.clock.Advance(absl::Minutes(11));
  harness_.store()->Tick();
  EXPECT_EQ(harness_.tenant()->ledger.uploads(), 0);
  EXPECT_EQ(harness_.tenant()->ledger.taken_bytes(), 0);
}

}  // namespace
}  // namespace mayfly
