// A Committer without a thread: the test is its driver, step by step.
#include "store/shard/committer.h"

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "base/error.h"
#include "storage/local/local_storage.h"
#include "store/poll.h"
#include "store/router.h"
#include "store/store_harness.h"
#include "store/uploads.h"
#include "support/manual_clock.h"
#include "support/temporary_directory.h"

namespace mayfly {
namespace {

// A store's own parts, of which a test takes what a committer stands on.
class CommitterTest : public testing::Test {
 protected:
  CommitterTest() {
    LocalStorageOptions options;
    options.data_dir = directory_ / "data";
    options.root_key = SecretBytes(AsBytes(StoreHarness::RootKey()));
    options.now_ms = absl::ToUnixMillis(clock_.Read().wall);
    options.memtable_bytes = 16 << 20;
    options.allow_unsafe_filesystem = true;
    options.log = [](StorageLogLevel, absl::string_view) {};
    storage_ = *LocalStorage::Open(std::move(options));
    time_ = *TimeSource::Start(&clock_, storage_.get(), absl::Minutes(15));
    EXPECT_TRUE(storage_->keyring()->EnsureAhead(time_->Read().steady_ms).ok());
    cipher_.emplace(storage_->keyring());
    tenants_.emplace(storage_.get(), config_);
    EXPECT_TRUE(tenants_->Start(time_->Read()).ok());
    quota_.emplace(storage_.get(), /*shard_count=*/1);
    fences_.emplace(storage_->boot_number());
    context_.emplace(StoreContext{.config = config_,
                                  .storage = *storage_,
                                  .cipher = *cipher_,
                                  .time = *time_,
                                  .tenants = *tenants_,
                                  .quota = *quota_,
                                  .failure = failure_,
                                  .workers = workers_,
                                  .fences = *fences_,
                                  .id_window = {.window_ms = 300'000}});
    router_.emplace(*context_);
    uploads_.emplace(*context_, &*router_);
    sweeper_.emplace(storage_.get(), nullptr, 256);
    committer_.emplace(0, *context_, &*sweeper_, &*uploads_, std::vector<TenantUsage>());
    tenant_ = *tenants_->Resolve("acme");
    const uint8_t random[10] = {1};
    key_ = {.id = CallId::Mint(absl::FromUnixMillis(time_->Read().steady_ms), random),
            .tenant = tenant_->number};
  }

  void TearDown() override { EXPECT_TRUE(reported_.ok()) << reported_; }

  // The operation on the call, as often as that, together. The answers come into `statuses_`.
  void Submit(const Operation& operation, size_t count = 1) {
    std::vector<Request> requests;
    auto batch = std::make_shared<Batch>(count, QueueLease(), [this](auto results) {
      for (OperationResult& result : results) statuses_.push_back(std::move(result.status));
    });
    for (size_t i = 0; i < count; ++i) {
      requests.push_back(Request{
          .tenant = tenant_, .key = key_, .operation = operation, .batch = batch, .index = i});
    }
    committer_->Submit(std::move(requests));
  }
  std::shared_ptr<Poll> NewPoll() {
    return std::make_shared<Poll>(
        ClaimTerms{.tenant = tenant_, .lease_ms = 30'000, .waits = true, .wait_until_ms = 50'000},
        PollLimits{.count_max = 1, .bytes_max = 1 << 20, .call_count = 1, .shard_count = 1},
        [](PollAnswer) {});
  }

  TemporaryDirectory directory_;
  Config config_;
  ManualClock clock_;
  absl::Status reported_;
  Failure failure_{[this](const absl::Status& status) { reported_ = status; }};
  ThreadPool workers_{"worker", 1};
  std::unique_ptr<LocalStorage> storage_;
  std::unique_ptr<TimeSource> time_;
  std::optional<PayloadCipher> cipher_;
  std::optional<Tenants> tenants_;
  std::optional<Quota> quota_;
  std::optional<FenceSource> fences_;
  std::optional<StoreContext> context_;
  std::optional<Router> router_;
  std::optional<Uploads> uploads_;
  std::optional<Sweeper> sweeper_;
  std::optional<Committer> committer_;
  Tenant* tenant_ = nullptr;
  CallKey key_;
  std::vector<absl::Status> statuses_;
};

TEST_F(CommitterTest, WhatNeedsNoSyncIsCommittedInline) {
  Submit(DescribeCall{});
  EXPECT_EQ(statuses_.size(), 1u);
  EXPECT_EQ(committer_->queued_requests(), 0u);
}

TEST_F(CommitterTest, AsManyRequestsAsAMessageHasAreCommittedInline) {
  constexpr size_t kMessageRequestsMax = 256;
  Submit(DescribeCall{}, kMessageRequestsMax);
  EXPECT_EQ(statuses_.size(), kMessageRequestsMax);
  EXPECT_EQ(committer_->queued_requests(), 0u);
  Submit(DescribeCall{}, kMessageRequestsMax + 1);
  EXPECT_EQ(statuses_.size(), kMessageRequestsMax);
  EXPECT_EQ(committer_->queued_requests(), kMessageRequestsMax + 1);
  committer_->Step();
}

TEST_F(CommitterTest, WhatMaySyncIsLeftToTheDriver) {
  Submit(DeleteCall{});
  EXPECT_TRUE(statuses_.empty());
  EXPECT_EQ(committer_->queued_requests(), 1u);
  ASSERT_TRUE(committer_->Wait());
  committer_->Step();
  EXPECT_EQ(statuses_.size(), 1u);
  committer_->Stop();
  EXPECT_FALSE(committer_->Wait());
}

// Nothing else may be submitted, and the poll is gone all the same.
TEST_F(CommitterTest, AnIdleShardForgetsAPollWithinATick) {
  std::shared_ptr<Poll> poll = NewPoll();
  const std::weak_ptr<Poll> seen = poll;
  committer_->Register(poll, {{.index = 0, .key = key_}});
  poll->Cancel();
  committer_->Unregister(poll, {{.index = 0, .key = key_}});
  poll.reset();
  EXPECT_FALSE(seen.expired());
  ASSERT_TRUE(committer_->Wait()) << "after a tick, unwoken";
  committer_->Step();
  EXPECT_TRUE(seen.expired());
}

}  // namespace
}  // namespace mayfly
