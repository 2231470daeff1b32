#include "storage/local/sync_group.h"

#include <atomic>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace mayfly {
namespace {

// A disk with a volatile cache: what was written before a sync began is durable when it ends.
struct CountingDisk {
  std::atomic<uint64_t> written{0};
  std::atomic<uint64_t> durable{0};
  std::atomic<uint64_t> syncs{0};

  absl::Status Sync() {
    const uint64_t covered = written;
    std::this_thread::yield();
    durable = covered;
    ++syncs;
    return absl::OkStatus();
  }
};

TEST(SyncGroup, CoversWhatWasWrittenBeforeTheCallFromManyThreads) {
  CountingDisk disk;
  SyncGroup group([&] { return disk.Sync(); });
  std::atomic<int> uncovered{0};
  std::vector<std::thread> threads;
  constexpr int kThreads = 8;
  constexpr int kRounds = 500;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < kRounds; ++round) {
        const uint64_t mine = ++disk.written;
        if (!group.Sync().ok() || disk.durable < mine) ++uncovered;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(uncovered, 0);
  EXPECT_LE(disk.syncs, uint64_t{kThreads * kRounds});
}

TEST(SyncGroup, NeverAsksAgainAfterAFailure) {
  int calls = 0;
  SyncGroup group([&] {
    ++calls;
    return absl::UnavailableError("disk");
  });
  EXPECT_FALSE(group.Sync().ok());
  EXPECT_FALSE(group.Sync().ok());
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace mayfly
