#include "keys/slot_file.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "support/fault_file_system.h"
#include "support/raw_file.h"
#include "support/temporary_directory.h"

namespace mayfly {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr size_t kHeaderBytes = 12288;

std::string Text(const SecretBytes& secret) { return std::string(AsText(secret.ExposeBytes())); }

std::vector<SlotRef> RefsOf(const std::vector<SlotLease>& leases) {
  std::vector<SlotRef> refs;
  for (const SlotLease& lease : leases) refs.push_back(lease.ref);
  return refs;
}

// Real files, and something done in the middle of every sync.
class HookedFileSystem : public FileSystem {
 public:
  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, bool create) override {
    auto file = real_->Open(path, create);
    if (!file.ok()) return file.status();
    return std::make_unique<HookedFile>(*std::move(file), &during_sync);
  }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    return real_->Rename(from, to);
  }
  absl::Status Remove(const std::string& path) override { return real_->Remove(path); }
  absl::Status SyncDirectory(const std::string& path) override {
    return real_->SyncDirectory(path);
  }
  bool Exists(const std::string& path) override { return real_->Exists(path); }

  std::function<void()> during_sync = [] {};

 private:
  class HookedFile : public File {
   public:
    HookedFile(std::unique_ptr<File> real, std::function<void()>* during_sync)
        : real_(std::move(real)), during_sync_(during_sync) {}
    absl::Status ReadAt(uint64_t offset, MutableByteSpan out) override {
      return real_->ReadAt(offset, out);
    }
    absl::Status WriteAt(uint64_t offset, ByteSpan data) override {
      return real_->WriteAt(offset, data);
    }
    absl::Status Sync() override {
      (*during_sync_)();
      return real_->Sync();
    }
    absl::StatusOr<uint64_t> Size() override { return real_->Size(); }
    absl::StatusOr<ByteSpan> Map(uint64_t size) override { return real_->Map(size); }

   private:
    const std::unique_ptr<File> real_;
    std::function<void()>* const during_sync_;
  };

  FileSystem* const real_ = PosixFileSystem();
};

class SlotFileTest : public testing::Test {
 protected:
  std::unique_ptr<SlotFile> Create() {
    auto slots = SlotFile::Create(files_, directory_.path());
    EXPECT_TRUE(slots.ok()) << slots.status();
    return *std::move(slots);
  }
  absl::StatusOr<std::unique_ptr<SlotFile>> Open() {
    return SlotFile::Open(files_, directory_.path());
  }
  static std::vector<SlotLease> Reserve(SlotFile* slots, size_t count) {
    auto leases = slots->Reserve(count);
    EXPECT_TRUE(leases.ok()) << leases.status();
    return *std::move(leases);
  }
  static void Write(SlotFile* slots, const std::vector<SlotLease>& leases) {
    std::vector<SlotWrite> writes;
    for (const SlotLease& lease : leases) {
      writes.push_back({.ref = lease.ref, .secret = &lease.secret});
    }
    EXPECT_TRUE(slots->Write(writes).ok());
  }
  static std::vector<SlotLease> Store(SlotFile* slots, size_t count) {
    std::vector<SlotLease> leases = Reserve(slots, count);
    Write(slots, leases);
    EXPECT_TRUE(slots->Sync().ok());
    return leases;
  }
  std::string Raw() const { return ReadRaw(path_); }
  void SetRaw(size_t offset, const std::string& bytes) {
    std::fstream file(path_, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(offset));
    file << bytes;
  }
  void FlipBit(size_t offset, int bit) {
    SetRaw(offset, std::string(1, static_cast<char>(Raw()[offset] ^ (1 << bit))));
  }

  static size_t OffsetOf(SlotRef ref) { return OffsetOfSlot(ref.slot); }

  FileSystem* const files_ = PosixFileSystem();
  TemporaryDirectory directory_;
  const std::string path_ = directory_ / "slots";
};

TEST_F(SlotFileTest, KeepsASecretFromItsWriteToItsErasure) {
  const auto slots = Create();
  const std::vector<SlotLease> leases = Reserve(slots.get(), 1);
  const SlotRef ref = leases[0].ref;
  EXPECT_EQ(leases[0].secret.size(), 20u);
  EXPECT_EQ(slots->StateOf(ref), SlotState::kNeverStored);
  EXPECT_EQ(slots->ReadSecret(ref).status().code(), absl::StatusCode::kNotFound);
  Write(slots.get(), leases);
  EXPECT_EQ(slots->StateOf(ref), SlotState::kLive);
  EXPECT_EQ(Text(*slots->ReadSecret(ref)), Text(leases[0].secret));
  EXPECT_TRUE(slots->Erase({ref}).ok());
  EXPECT_EQ(slots->StateOf(ref), SlotState::kErased);
  EXPECT_EQ(slots->ReadSecret(ref).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(slots->alarms(), 0u);
}

TEST_F(SlotFileTest, AnswersOnlyToTheGenerationItHolds) {
  const auto slots = Create();
  const std::vector<SlotLease> leases = Store(slots.get(), 1);
  const SlotRef ref = leases[0].ref;
  for (uint64_t generation : {ref.generation - 1, ref.generation + 1, uint64_t{0}}) {
    const SlotRef other{.slot = ref.slot, .generation = generation};
    // What was there before it was synced, and must have been erased to make place for it.
    const bool was_before = generation < ref.generation;
    EXPECT_EQ(slots->StateOf(other), was_before ? SlotState::kErased : SlotState::kNeverStored);
    EXPECT_FALSE(slots->ReadSecret(other).ok());
    EXPECT_TRUE(slots->Erase({other}).ok());
  }
  EXPECT_EQ(slots->StateOf(ref), SlotState::kLive) << "erased by a stranger";
  EXPECT_EQ(slots->Counts().live, 1u);
}

TEST_F(SlotFileTest, ReusesASlotWhenItsRowIsGoneForGood) {
  const SlotFileOptions options = {.waits_for_rows = true};
  SlotRef ref;
  {
    const auto slots = SlotFile::Create(files_, directory_.path(), options);
    ASSERT_TRUE(slots.ok());
    ref = Store(slots->get(), 1)[0].ref;
    ASSERT_TRUE((*slots)->Erase({ref}).ok());
    const uint64_t erasures = (*slots)->erasure_count();
    (*slots)->RowsSynced(erasures);
    EXPECT_EQ((*slots)->Counts().unsynced, 1u) << "the erasure is not synced";
    ASSERT_TRUE((*slots)->Sync().ok());
    EXPECT_EQ((*slots)->Counts().unsynced, 0u);

    ref = Store(slots->get(), 1)[0].ref;
    ASSERT_TRUE((*slots)->Erase({ref}).ok());
    ASSERT_TRUE((*slots)->Sync().ok());
    (*slots)->RowsSynced(erasures);
    EXPECT_EQ((*slots)->Counts().unsynced, 1u) << "its row is not synced";
  }
  // The next start cannot know either.
  const auto slots = SlotFile::Open(files_, directory_.path(), options);
  ASSERT_TRUE(slots.ok());
  EXPECT_EQ((*slots)->Counts().unsynced, 1u);
  for (const SlotLease& lease : Reserve(slots->get(), (*slots)->Counts().free)) {
    EXPECT_NE(lease.ref.slot, ref.slot);
  }
  (*slots)->OrphansRemoved(/*all=*/false);
  EXPECT_EQ((*slots)->Counts().unsynced, 1u);
  const uint64_t erasures = (*slots)->erasure_count();
  ASSERT_TRUE((*slots)->Sync().ok());
  (*slots)->RowsSynced(erasures);
  EXPECT_EQ((*slots)->Counts().unsynced, 0u);
  EXPECT_EQ((*slots)->Counts().free, 1u);
}

TEST_F(SlotFileTest, HasTheBytesOfItsTable) {
  const auto slots = Create();
  const std::vector<SlotLease> leases = Store(slots.get(), 3);
  std::string raw = Raw();
  EXPECT_EQ(raw.substr(0, 8), "MAYFSLOT");
  ASSERT_EQ(raw.size(), kHeaderBytes + (1 << 20));
  for (const SlotLease& lease : leases) {
    std::string expected;
    AppendBigEndian(&expected, lease.ref.generation);
    expected += Text(lease.secret);
    std::string checked = expected;
    AppendBigEndian(&checked, lease.ref.slot);
    AppendBigEndian(&expected, Crc32c(AsBytes(checked)));
    EXPECT_EQ(raw.substr(kHeaderBytes + lease.ref.slot * 32, 32), expected);
  }
  const SlotRef erased = leases[1].ref;
  ASSERT_TRUE(slots->Erase({erased}).ok());
  std::string expected;
  AppendBigEndian(&expected, erased.generation);
  expected.append(20, '\0');
  std::string checked = expected;
  AppendBigEndian(&checked, erased.slot);
  AppendBigEndian(&expected, ~Crc32c(AsBytes(checked)));
  EXPECT_EQ(Raw().substr(kHeaderBytes + erased.slot * 32, 32), expected);
}

TEST_F(SlotFileTest, LeavesNothingOfAnErasedSecretInTheFile) {
  const auto slots = Create();
  const std::vector<SlotLease> leases = Store(slots.get(), 300);
  std::string raw = Raw();
  for (const SlotLease& lease : leases) {
    ASSERT_NE(raw.find(Text(lease.secret)), std::string::npos) << "the search finds nothing at all";
  }
  ASSERT_TRUE(slots->Erase(RefsOf(leases)).ok());
  ASSERT_TRUE(slots->Sync().ok());
  raw = Raw();
  for (const SlotLease& lease : leases) {
    EXPECT_EQ(raw.find(Text(lease.secret).substr(0, 8)), std::string::npos);
    EXPECT_EQ(raw.find(Text(lease.secret).substr(12)), std::string::npos);
  }
}

TEST_F(SlotFileTest, ReusesAnErasedSlotOnlyAfterASync) {
  const auto slots = Create();
  const std::vector<SlotLease> leases = Store(slots.get(), 128);
  std::set<uint32_t> erased;
  for (const SlotLease& lease : leases) erased.insert(lease.ref.slot);
  ASSERT_TRUE(slots->Erase(RefsOf(leases)).ok());
  EXPECT_EQ(slots->Counts().unsynced, 128u);
  for (const SlotLease& lease : Reserve(slots.get(), slots->Counts().free)) {
    ASSERT_FALSE(erased.contains(lease.ref.slot)) << "its overwriting was not synced";
  }
  EXPECT_EQ(slots->Counts().free, 0u);
  ASSERT_TRUE(slots->Sync().ok());
  EXPECT_EQ(slots->Counts().unsynced, 0u);
  for (const SlotLease& lease : Reserve(slots.get(), 128)) {
    EXPECT_TRUE(erased.contains(lease.ref.slot));
    EXPECT_EQ(slots->StateOf(lease.ref), SlotState::kNeverStored);
  }
}

TEST_F(SlotFileTest, FreesWithASyncOnlyWhatWasErasedBeforeItBegan) {
  HookedFileSystem files;
  auto slots = SlotFile::Create(&files, directory_.path());
  ASSERT_TRUE(slots.ok());
  const std::vector<SlotLease> leases = Store(slots->get(), 2);
  const uint64_t free = (*slots)->Counts().free;
  ASSERT_TRUE((*slots)->Erase({leases[0].ref}).ok());
  files.during_sync = [&] {
    EXPECT_EQ((*slots)->Counts().free, free) << "free before the sync has ended";
    EXPECT_EQ(Reserve(slots->get(), free).size(), free);
    EXPECT_TRUE((*slots)->Erase({leases[1].ref}).ok());
  };
  ASSERT_TRUE((*slots)->Sync().ok());
  files.during_sync = [] {};
  EXPECT_EQ((*slots)->Counts().unsynced, 1u) << "erased after the sync began";
  EXPECT_EQ((*slots)->Counts().free, 1u);
}

TEST_F(SlotFileTest, ErasingTwiceFreesOnce) {
  const auto slots = Create();
  const std::vector<SlotLease> leases = Store(slots.get(), 2);
  const SlotRef ref = leases[0].ref;
  EXPECT_TRUE(slots->Erase({ref, ref}).ok());
  EXPECT_TRUE(slots->Erase({ref}).ok());
  EXPECT_EQ(slots->Counts().unsynced, 1u);
  EXPECT_TRUE(slots->Sync().ok());
  EXPECT_TRUE(slots->Erase({ref}).ok());
  EXPECT_EQ(slots->Counts().unsynced, 0u);
  EXPECT_EQ(slots->Counts().live, 1u);
}

TEST_F(SlotFileTest, TakesBackWhatWasNotWritten) {
  const auto slots = Create();
  const std::vector<SlotLease> leases = Reserve(slots.get(), 10);
  EXPECT_EQ(slots->Counts().reserved, 10u);
  slots->Return(RefsOf(leases));
  EXPECT_EQ(slots->Counts().reserved, 0u);
  EXPECT_EQ(slots->Counts().free, slots->capacity());
  const std::vector<SlotLease> again = Reserve(slots.get(), 10);
  EXPECT_EQ(again[0].ref.slot, leases[0].ref.slot);
  EXPECT_GT(again[0].ref.generation, leases[9].ref.generation);
  EXPECT_NE(Text(again[0].secret), Text(leases[0].secret));
}

TEST_F(SlotFileTest, NeverRepeatsAGenerationAcrossBoots) {
  uint64_t highest = 0;
  uint64_t boot = 0;
  Create();
  for (int round = 0; round < 5; ++round) {
    const auto slots = Open();
    ASSERT_TRUE(slots.ok()) << slots.status();
    EXPECT_GT((*slots)->boot_number(), boot);
    boot = (*slots)->boot_number();
    EXPECT_EQ((*slots)->NextGeneration(), boot << 40 | 1);
    for (const SlotLease& lease : Reserve(slots->get(), 3)) {
      EXPECT_GT(lease.ref.generation, highest);
      EXPECT_EQ(lease.ref.generation >> 40, boot);
      highest = lease.ref.generation;
    }
    EXPECT_EQ((*slots)->NextGeneration(), highest + 1);
  }
}

TEST_F(SlotFileTest, KeepsItsBootNumberWhicheverRecordIsLost) {
  for (size_t page : {1, 2}) {
    TemporaryDirectory directory;
    auto created = SlotFile::Create(files_, directory.path());
    ASSERT_TRUE(created.ok());
    const uint64_t boot = (*created)->boot_number();
    created->reset();
    std::fstream file(directory / "slots", std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(page * 4096));
    file << std::string(4096, 'x');
    file.close();
    const auto slots = SlotFile::Open(files_, directory.path());
    ASSERT_TRUE(slots.ok()) << slots.status();
    EXPECT_GT((*slots)->boot_number(), boot);
  }
}

TEST_F(SlotFileTest, RefusesADamagedHeader) {
  EXPECT_EQ(Open().status(), absl::NotFoundError("slot file is missing"));
  Create();
  for (size_t byte = 0; byte < 32; ++byte) {
    FlipBit(byte, static_cast<int>(byte % 8));
    ASSERT_EQ(Open().status(), absl::DataLossError("the slot file keys/slots has a damaged header"))
        << byte;
    FlipBit(byte, static_cast<int>(byte % 8));
  }
  ASSERT_TRUE(Open().ok());
  SetRaw(4096, std::string(8192, '\0'));
  EXPECT_EQ(Open().status().code(), absl::StatusCode::kDataLoss);
  std::filesystem::resize_file(path_, 5000);
  EXPECT_EQ(Open().status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(SlotFile::Create(files_, directory_.path()).status().code(),
            absl::StatusCode::kAlreadyExists);
}

TEST_F(SlotFileTest, KeepsTheSyncedSequenceAndOnlyRaisesIt) {
  {
    const auto slots = Create();
    EXPECT_EQ(slots->synced_sequence(), 0u);
    ASSERT_TRUE(slots->RecordSynced(77, 0).ok());
    ASSERT_TRUE(slots->RecordSynced(55, 0).ok());
    EXPECT_EQ(slots->synced_sequence(), 77u);
  }
  const auto slots = Open();
  EXPECT_EQ((*slots)->synced_sequence(), 77u);
  ASSERT_TRUE((*slots)->ResetSyncedSequence(50).ok());
  EXPECT_EQ((*Open())->synced_sequence(), 50u);
}

TEST_F(SlotFileTest, TellsDamageFromWhatWasNeverStored) {
  const auto slots = Create();
  const std::vector<SlotLease> leases = Store(slots.get(), 2);
  const size_t offset = OffsetOf(leases[0].ref);
  for (size_t bit = 0; bit < 256; ++bit) {
    FlipBit(offset + bit / 8, static_cast<int>(bit % 8));
    const uint64_t alarms = slots->alarms();
    EXPECT_EQ(slots->StateOf(leases[0].ref), SlotState::kDamaged) << bit;
    EXPECT_EQ(slots->ReadSecret(leases[0].ref).status().code(), absl::StatusCode::kDataLoss) << bit;
    EXPECT_EQ(slots->alarms(), alarms + 3) << bit;
    FlipBit(offset + bit / 8, static_cast<int>(bit % 8));
  }
  EXPECT_EQ(slots->StateOf(leases[0].ref), SlotState::kLive);
  const uint64_t alarms = slots->alarms();
  EXPECT_EQ(slots->StateOf({.slot = slots->capacity(), .generation = 1}), SlotState::kDamaged);
  EXPECT_EQ(slots->StateOf({.slot = UINT32_MAX, .generation = 1}), SlotState::kDamaged);
  EXPECT_EQ(slots->alarms(), alarms + 2);
}

TEST_F(SlotFileTest, TakesASlotMovedToAnotherPlaceForDamage) {
  const auto slots = Create();
  const std::vector<SlotLease> leases = Store(slots.get(), 1);
  SetRaw(kHeaderBytes + 9 * 32, Raw().substr(OffsetOf(leases[0].ref), 32));
  EXPECT_EQ(slots->StateOf({.slot = 9, .generation = leases[0].ref.generation}),
            SlotState::kDamaged);
}

TEST_F(SlotFileTest, TakesWhatWasSyncedAndIsNotThereForDamage) {
  std::vector<SlotLease> leases;
  SlotRef unsynced;
  {
    const auto slots = Create();
    leases = Store(slots.get(), 2);
    ASSERT_TRUE(slots->RecordSynced(1, slots->WrittenGeneration()).ok());
    const std::vector<SlotLease> more = Reserve(slots.get(), 1);
    unsynced = more[0].ref;
    Write(slots.get(), more);
  }
  const std::string zeros(32, '\0');
  for (const SlotRef ref : {leases[0].ref, unsynced}) SetRaw(OffsetOf(ref), zeros);
  const auto opened = Open();
  ASSERT_TRUE(opened.ok()) << opened.status();
  SlotFile& slots = **opened;
  EXPECT_EQ(slots.StateOf(leases[0].ref), SlotState::kDamaged);
  EXPECT_EQ(slots.StateOf(leases[1].ref), SlotState::kLive);
  EXPECT_EQ(slots.StateOf(unsynced), SlotState::kNeverStored) << "a crash explains it";
  // It is not given to others before it is erased.
  slots.Quarantine(leases[0].ref);
  EXPECT_EQ(slots.Counts().damaged, 1u);
  for (const SlotLease& lease : Reserve(&slots, slots.Counts().free)) {
    EXPECT_NE(lease.ref.slot, leases[0].ref.slot);
  }
  ASSERT_TRUE(slots.Erase({leases[0].ref}).ok());
  ASSERT_TRUE(slots.Sync().ok());
  EXPECT_EQ(slots.StateOf(leases[0].ref), SlotState::kErased);
  EXPECT_EQ(slots.Counts().damaged, 0u);
  EXPECT_EQ(slots.Counts().free, 1u);
}

TEST_F(SlotFileTest, ExplainsLostWritesOfEarlierBootsUntilTheirRowsAreRemoved) {
  SlotRef lost;
  {
    const auto slots = Create();
    Store(slots.get(), 1);
    lost = Reserve(slots.get(), 1)[0].ref;
  }
  const auto slots = *Open();
  Store(slots.get(), 1);
  EXPECT_EQ(slots->StateOf(lost), SlotState::kNeverStored);
  slots->OrphansRemoved(/*all=*/true);
  const SlotRef stored = Store(slots.get(), 1)[0].ref;
  EXPECT_EQ(slots->StateOf(lost), SlotState::kDamaged);
  SetRaw(OffsetOf(stored), std::string(32, '\0'));
  EXPECT_EQ(slots->StateOf(stored), SlotState::kDamaged);
}

TEST_F(SlotFileTest, RefusesDamagedSlotsUnlessTheLossIsAccepted) {
  std::vector<SlotLease> leases;
  {
    const auto slots = Create();
    leases = Store(slots.get(), 2);
  }
  FlipBit(OffsetOf(leases[0].ref) + 31, 0);
  const std::string before = Raw();
  EXPECT_EQ(Open().status(), absl::DataLossError("the slot file keys/slots has 1 damaged slots of "
                                                 "32768, the first is number 0"));
  EXPECT_EQ(Raw(), before) << "a refused start leaves the evidence alone";

  const auto slots = SlotFile::Open(files_, directory_.path(), {.accept_data_loss = true});
  ASSERT_TRUE(slots.ok()) << slots.status();
  EXPECT_EQ((*slots)->StateOf(leases[0].ref), SlotState::kNeverStored);
  EXPECT_EQ((*slots)->StateOf(leases[1].ref), SlotState::kLive);
  ASSERT_TRUE((*slots)->Sync().ok());
  EXPECT_THAT(Raw(), Not(HasSubstr(Text(leases[0].secret))));
  EXPECT_EQ((*slots)->Counts().damaged, 0u);
  EXPECT_EQ((*slots)->Counts().free, (*slots)->capacity() - 1u);
  EXPECT_TRUE(Open().ok()) << "once is enough";
}

TEST_F(SlotFileTest, ErasesASlotThatWasDamagedAfterItWasOpened) {
  const auto slots = Create();
  const std::vector<SlotLease> leases = Store(slots.get(), 2);
  FlipBit(OffsetOf(leases[0].ref) + 3, 0);  // its generation
  ASSERT_TRUE(slots->Erase({leases[0].ref}).ok());
  EXPECT_THAT(Raw(), Not(HasSubstr(Text(leases[0].secret))));
  // Again while the first erasure waits for its sync, and of one that is free or another's by then.
  FlipBit(OffsetOf(leases[0].ref) + 3, 0);
  ASSERT_TRUE(slots->Erase({leases[0].ref}).ok());
  ASSERT_TRUE(slots->Sync().ok());
  ASSERT_TRUE(slots->Erase({leases[0].ref}).ok());
  EXPECT_EQ(slots->Counts().free, slots->capacity() - 1u);
  const std::vector<SlotLease> next = Reserve(slots.get(), slots->Counts().free);
  ASSERT_TRUE(slots->Erase({leases[0].ref}).ok());
  EXPECT_EQ(slots->Counts().reserved, next.size());
}

TEST_F(SlotFileTest, RefusesAFileThatIsShorterThanItWas) {
  std::vector<SlotLease> leases;
  {
    const auto slots = Create();
    leases = Store(slots.get(), slots->capacity() + 1);
    ASSERT_GT(slots->capacity(), 32768u);
  }
  const std::string whole = Raw();
  std::filesystem::resize_file(path_, OffsetOfSlot(128));
  const std::string cut = Raw();
  EXPECT_EQ(Open().status(),
            absl::DataLossError("the slot file keys/slots has 128 slots, it once had 65664"));
  EXPECT_EQ(Raw(), cut);
  SetRaw(0, whole);
  {
    const auto slots = Open();
    ASSERT_TRUE(slots.ok()) << slots.status();
    EXPECT_EQ((*slots)->StateOf(leases.back().ref), SlotState::kLive);
  }
  std::filesystem::resize_file(path_, OffsetOfSlot(128));
  const auto slots = SlotFile::Open(files_, directory_.path(), {.accept_data_loss = true});
  ASSERT_TRUE(slots.ok()) << slots.status();
  EXPECT_EQ((*slots)->StateOf(leases.back().ref), SlotState::kNeverStored);
  EXPECT_EQ((*slots)->StateOf(leases[0].ref), SlotState::kLive);
  EXPECT_TRUE(Open().ok());
}

TEST_F(SlotFileTest, RefusesTheFileOfAnotherStore) {
  const StoreId own = Create()->store_id();
  StoreId other = own;
  other[0] ^= 1;
  const std::string before = Raw();
  EXPECT_EQ(SlotFile::Open(files_, directory_.path(), {.store_id = other}).status(),
            absl::FailedPreconditionError("the slot file keys/slots is another store's"));
  EXPECT_EQ(Raw(), before);
  EXPECT_TRUE(SlotFile::Open(files_, directory_.path(), {.store_id = own}).ok());
}

TEST_F(SlotFileTest, GrowsByZerosAndKeepsWhatItHolds) {
  const auto slots = Create();
  const uint32_t capacity = slots->capacity();
  const std::vector<SlotLease> first = Store(slots.get(), capacity);
  const std::vector<SlotLease> more = Store(slots.get(), 3 * capacity + 1);
  EXPECT_GE(slots->capacity(), 4 * capacity + 1);
  EXPECT_EQ(Raw().size(), kHeaderBytes + slots->capacity() * 32u);
  for (const auto* leases : {&first, &more}) {
    for (const SlotLease& lease : *leases) {
      ASSERT_EQ(Text(*slots->ReadSecret(lease.ref)), Text(lease.secret));
    }
  }
  const auto reopened = Open();
  EXPECT_EQ((*reopened)->Counts().live, 4 * capacity + 1);
  EXPECT_EQ((*reopened)->alarms(), 0u);
}

TEST_F(SlotFileTest, TakesOverLiveSlotsAndFreesErasedOnesWhenOpened) {
  std::vector<SlotLease> leases;
  {
    const auto slots = Create();
    leases = Store(slots.get(), 200);
    Reserve(slots.get(), 50);
    ASSERT_TRUE(slots->Erase(absl::MakeConstSpan(RefsOf(leases)).first(100)).ok());
  }
  const auto slots = Open();
  EXPECT_EQ((*slots)->Counts().live, 100u);
  EXPECT_EQ((*slots)->Counts().free, (*slots)->capacity() - 100u);
  EXPECT_EQ((*slots)->StateOf(leases[0].ref), SlotState::kErased);
  std::set<uint32_t> live;
  for (size_t i = 100; i < 200; ++i) live.insert(leases[i].ref.slot);
  for (const SlotLease& lease : Reserve(slots->get(), (*slots)->Counts().free)) {
    ASSERT_FALSE(live.contains(lease.ref.slot));
  }
}

TEST_F(SlotFileTest, ListsLiveSlotsBelowAGenerationForScrubbing) {
  const auto slots = Create();
  const std::vector<SlotLease> leases = Store(slots.get(), 5);
  const uint64_t watermark = slots->NextGeneration();
  const std::vector<SlotLease> reserved = Reserve(slots.get(), 1);
  const std::vector<SlotLease> later = Store(slots.get(), 1);
  ASSERT_TRUE(slots->Erase({leases[1].ref}).ok());
  EXPECT_THAT(slots->LiveSlotsBelow(watermark, 0, slots->capacity()),
              ElementsAre(leases[0].ref, leases[2].ref, leases[3].ref, leases[4].ref));
  EXPECT_THAT(slots->LiveSlotsBelow(watermark, 2, 2), ElementsAre(leases[2].ref, leases[3].ref));
  EXPECT_THAT(slots->LiveSlotsBelow(watermark, slots->capacity(), UINT32_MAX), IsEmpty());
  EXPECT_THAT(slots->LiveSlotsBelow(UINT64_MAX, 5, UINT32_MAX), ElementsAre(later[0].ref));
}

TEST_F(SlotFileTest, WritesNeighboursTogether) {
  FaultPlan plan;
  std::filesystem::create_directory(directory_ / "scratch");
  FaultFileSystem files(&plan, directory_ / "scratch");
  auto slots = SlotFile::Create(&files, directory_.path());
  ASSERT_TRUE(slots.ok());
  std::vector<SlotLease> leases = Reserve(slots->get(), 256);
  std::reverse(leases.begin(), leases.end());
  plan.NeverFail();
  Write(slots->get(), leases);
  EXPECT_EQ(plan.operations(), 1u);
  std::vector<SlotRef> alternate;
  for (size_t i = 0; i < 10; i += 2) alternate.push_back(leases[i].ref);
  ASSERT_TRUE((*slots)->Erase(alternate).ok());
  EXPECT_EQ(plan.operations(), 1u + 5u) << "what lies between was written too";
  for (size_t i = 1; i < 10; i += 2) {
    EXPECT_EQ((*slots)->StateOf(leases[i].ref), SlotState::kLive);
  }
}

TEST_F(SlotFileTest, IsUsedByManyThreads) {
  const auto slots = Create();
  constexpr int kThreads = 4;
  constexpr int kRounds = 60;
  std::atomic<uint64_t> stored = 0;
  std::atomic<bool> done = false;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < kRounds; ++round) {
        const std::vector<SlotLease> leases = Reserve(slots.get(), 700);
        if (round % 7 == t) {
          slots->Return(RefsOf(leases));
          continue;
        }
        Write(slots.get(), leases);
        EXPECT_TRUE(slots->Sync().ok());
        for (const SlotLease& lease : leases) {
          const auto secret = slots->ReadSecret(lease.ref);
          ASSERT_TRUE(secret.ok());
          ASSERT_EQ(Text(*secret), Text(lease.secret));
        }
        const std::vector<SlotRef> refs = RefsOf(leases);
        EXPECT_TRUE(slots->Erase(absl::MakeConstSpan(refs).first(500)).ok());
        EXPECT_TRUE(slots->Sync().ok());
        EXPECT_EQ(slots->StateOf(refs[500]), SlotState::kLive);
        stored += 200;
      }
    });
  }
  std::thread scrubber([&] {
    while (!done) slots->LiveSlotsBelow(slots->NextGeneration(), 0, slots->capacity());
  });
  for (std::thread& thread : threads) thread.join();
  done = true;
  scrubber.join();
  const SlotCounts counts = slots->Counts();
  EXPECT_EQ(counts.live, stored);
  EXPECT_EQ(counts.reserved, 0u);
  EXPECT_EQ(counts.unsynced, 0u);
  EXPECT_EQ(counts.free + counts.live, counts.capacity);
  EXPECT_EQ(slots->alarms(), 0u) << "a reader took a slot that was being written for damaged";
}

}  // namespace
}  // namespace mayfly
