// What storage.h promises of uploads, on every engine.
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "storage/engine.h"

namespace mayfly {
namespace {

using ::testing::IsEmpty;

class UploadsTest : public EngineTest {
 protected:
  StoredUpload NewUpload(uint8_t id, const SlotLease& lease, const CallKey& key = TestKey(1)) {
    StoredUpload upload = {.id = {id}, .key = key, .kind = PayloadKind::kOutput};
    upload.payload = {.slot = lease.ref,
                      .attempt = 2,
                      .size_bytes = 12'345,
                      .stored_ms = kTestNowMs,
                      .deadline_ms = kTestNowMs + kTestHourMs};
    upload.metadata = Sealed::CopyOf(AsBytes("metadata"));
    return upload;
  }
  std::vector<StoredUpload> LoadUploads() {
    auto uploads = storage_->LoadUploads();
    EXPECT_TRUE(uploads.ok()) << uploads.status();
    return *std::move(uploads);
  }
};
INSTANTIATE_TEST_SUITE_P(Engines, UploadsTest, AllEngines(), NameOfEngine);

TEST_P(UploadsTest, AnUploadIsKeptUntilACommitNamesIt) {
  const std::vector<SlotLease> leases = Reserve(1);
  const StoredUpload upload = NewUpload(1, leases[0]);
  ASSERT_TRUE(storage_->StoreUpload(upload, leases[0].secret).ok());
  const Sealed segment = Sealed::CopyOf(AsBytes("segment"));
  ASSERT_TRUE(
      storage_->WriteSegment(upload.key, upload.payload.slot, 0, kTestDeadlineMs, segment).ok());
  Sync();
  // No put waits for uploads: their segments are synced with the record, once a second.
  ASSERT_TRUE(storage_->SyncRecord().ok());
  storage_.LosePower();
  Reopen();
  const std::vector<StoredUpload> found = LoadUploads();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].id, upload.id);
  EXPECT_EQ(found[0].key, upload.key);
  EXPECT_EQ(found[0].kind, upload.kind);
  EXPECT_EQ(found[0].payload, upload.payload);
  EXPECT_EQ(AsText(found[0].metadata.bytes()), "metadata");
  EXPECT_EQ(SecretText(*storage_->ReadSecret(upload.payload.slot)), SecretText(leases[0].secret));
  EXPECT_TRUE(FindOrphans().empty()) << "an upload under way is no orphan";
  EXPECT_EQ(storage_.Load(upload.key).state, CallState());

  StoredPayload payload = upload.payload;
  payload.segment_count = 1;
  const LoadedCall loaded = storage_.Load(upload.key);
  const Sealed row = Sealed::CopyOf(AsBytes("row"));
  CallChange change = {.key = upload.key, .loaded = &loaded};
  change.effects.store = PayloadKind::kOutput;
  change.payload = payload;
  change.row = &row;
  change.upload = &upload.id;
  ASSERT_TRUE(storage_->Commit(0, {&change, 1}, {}).ok());
  EXPECT_THAT(LoadUploads(), IsEmpty());
  Reopen();
  EXPECT_THAT(LoadUploads(), IsEmpty());
  EXPECT_EQ(storage_.Load(upload.key).state.output, payload);
  EXPECT_TRUE(storage_->ReadSegment(upload.key, payload.slot, 0).ok());
  EXPECT_TRUE(storage_->ReadSecret(payload.slot).ok());
}

TEST_P(UploadsTest, NothingStaysOfARemovedUpload) {
  const std::vector<SlotLease> leases = Reserve(2);
  for (uint8_t i : {0, 1}) {
    const StoredUpload upload = NewUpload(i, leases[i]);
    ASSERT_TRUE(storage_->StoreUpload(upload, leases[i].secret).ok());
    const Sealed segment = Sealed::CopyOf(AsBytes("segment"));
    for (uint32_t number : {0, 1, 2}) {
      ASSERT_TRUE(
          storage_->WriteSegment(upload.key, leases[i].ref, number, kTestDeadlineMs, segment).ok());
    }
  }
  const StoredUpload removed = NewUpload(0, leases[0]);
  ASSERT_TRUE(storage_->RemoveUpload(removed).ok());
  for (int reopened = 0; reopened < 2; ++reopened) {
    EXPECT_EQ(storage_->StateOf(leases[0].ref), SlotState::kErased);
    for (uint32_t number : {0, 1, 2}) {
      EXPECT_FALSE(storage_->ReadSegment(removed.key, leases[0].ref, number).ok());
      EXPECT_TRUE(storage_->ReadSegment(removed.key, leases[1].ref, number).ok());
    }
    ASSERT_EQ(LoadUploads().size(), 1u);
    EXPECT_EQ(LoadUploads()[0].id, NewUpload(1, leases[1]).id);
    Reopen();
  }
}

TEST_P(UploadsTest, AnUploadEndsWithItsCall) {
  const TestPayload input = Put({.key = TestKey(1)});
  const std::vector<SlotLease> leases = Reserve(1);
  const StoredUpload upload = NewUpload(1, leases[0]);
  ASSERT_TRUE(storage_->StoreUpload(upload, leases[0].secret).ok());
  const LoadedCall loaded = storage_.Load(TestKey(1));
  CallChange change = {.key = TestKey(1), .loaded = &loaded};
  change.effects.remove_input = loaded.state.input;
  change.effects.tombstone = Tombstone{.reason = EndReason::kDeleted, .ended_ms = kTestNowMs};
  change.ended_uploads = {{.id = upload.id, .slot = leases[0].ref}};
  ASSERT_TRUE(storage_->Commit(0, {&change, 1}, {}).ok());
  Sync();
  // The erasure does not come any more: the slot is named, so the start does it.
  storage_.LosePower();
  Reopen();
  EXPECT_THAT(LoadUploads(), IsEmpty());
  EXPECT_NE(storage_->StateOf(leases[0].ref), SlotState::kLive);
}

}  // namespace
}  // namespace mayfly
