#include "keys/keyring.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "base/now.h"
#include "crypto/hmac.h"
#include "keys/keyring_use.h"
#include "support/fault_file_system.h"
#include "support/raw_file.h"
#include "support/temporary_directory.h"

namespace mayfly {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr char kDamaged[] =
    "the keyring keys/keyring is damaged: restore the data directory, or move it away to start "
    "empty";
// Where both copies of a sector in the bank that counts after Create are.
constexpr KeyringPlace kCopyA = {.bank = 0, .copy = 0};
constexpr KeyringPlace kCopyB = {.bank = 0, .copy = 1};

void WriteRaw(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

std::string SectorOf(const std::string& content, uint64_t offset) {
  return content.substr(offset, kKeyringSectorBytes);
}

void PutSector(const KeyringSector& sector, uint64_t offset, std::string* content) {
  std::copy(sector.begin(), sector.end(), content->begin() + static_cast<int64_t>(offset));
}

KeyringCell CellAt(const std::string& content, KeyringPlace place, size_t cell) {
  const auto decoded =
      DecodeKeyringCell(AsBytes(SectorOf(content, OffsetOfKeyringCell(place, cell))));
  EXPECT_TRUE(decoded.has_value()) << cell;
  return decoded.value_or(KeyringCell());
}

class KeyringTest : public testing::Test {
 protected:
  std::unique_ptr<Keyring> Create(int64_t now_ms = kNowMs) {
    auto keyring = Keyring::Create(files_, directory_.path(), Key(1), kStoreId, now_ms);
    EXPECT_TRUE(keyring.ok()) << keyring.status();
    return *std::move(keyring);
  }
  absl::StatusOr<std::unique_ptr<Keyring>> Open(uint8_t key = 1) {
    return Keyring::Open(files_, directory_.path(), Key(key));
  }
  // A payload in the first, a middle and the last second of each hour that has a key.
  static std::vector<SecondRef> SealInEveryHour(Keyring* keyring) {
    std::vector<SecondRef> sealed;
    for (const Hour hour : keyring->Hours()) {
      for (const uint32_t second : {0, 1, 1800, 3599}) {
        sealed.push_back(Seal(keyring, SecondIn(hour, second)));
      }
    }
    return sealed;
  }
  static std::vector<std::string> ExtractAll(const Keyring& keyring,
                                             const std::vector<SecondRef>& sealed) {
    std::vector<std::string> extracted;
    for (const SecondRef& second : sealed) extracted.push_back(ExtractText(keyring, second));
    return extracted;
  }

  FileSystem* const files_ = PosixFileSystem();
  TemporaryDirectory directory_;
  const std::string path_ = directory_ / "keyring";
};

TEST_F(KeyringTest, FloorsASecondToItsHour) {
  static_assert(HourOfSecond(0) == 0);
  static_assert(HourOfSecond(3599) == 0);
  static_assert(HourOfSecond(3600) == 1);
  static_assert(HourOfSecond(-1) == -1);
  static_assert(HourOfSecond(-3600) == -1);
  static_assert(HourOfSecond(-3601) == -2);
}

TEST_F(KeyringTest, HasKeysForTheHoursAheadAndNoOthers) {
  EXPECT_FALSE(Keyring::Exists(files_, directory_.path()));
  const auto keyring = Create();
  EXPECT_TRUE(Keyring::Exists(files_, directory_.path()));
  std::vector<Hour> expected;
  for (Hour hour = kHour; hour <= kHour + 26; ++hour) expected.push_back(hour);
  EXPECT_EQ(keyring->Hours(), expected);
  EXPECT_TRUE(absl::IsNotFound(keyring->NumberFor(SecondIn(kHour - 1, 3599)).status()));
  EXPECT_TRUE(absl::IsNotFound(keyring->NumberFor(SecondIn(kHour + 27, 0)).status()));
  std::map<std::string, int> extracted;
  for (const SecondRef& second : SealInEveryHour(keyring.get())) {
    ++extracted[ExtractText(*keyring, second)];
  }
  EXPECT_EQ(extracted.size(), 27u * 4);
}

TEST_F(KeyringTest, ExtractsWithTheLeafOfTheChainInTheFile) {
  const auto keyring = Create();
  const std::string content = ReadRaw(path_);
  ASSERT_EQ(content.size(), kKeyringBytes);
  for (const Hour hour : keyring->Hours()) {
    const SecondRef second = Seal(keyring.get(), SecondIn(hour, 77));
    const KeyringCell cell = CellAt(content, kCopyA, CellOf(second.hour_key));
    EXPECT_EQ(cell, CellAt(content, kCopyB, CellOf(second.hour_key)));
    EXPECT_EQ(cell.hour, hour);
    EXPECT_EQ(cell.first_open, 0u);
    auto key = OpenHourKey(Key(1), kStoreId, cell);
    ASSERT_TRUE(key.ok());
    HourChain chain(*std::move(key), 0);
    std::array<uint8_t, HmacKey::kSavedSize> leaf;
    chain.CopyLeaf(77, leaf.data());
    // RFC 5869 section 2.2: HKDF-Extract(salt, IKM) = HMAC(salt, IKM).
    EXPECT_EQ(
        ExtractText(*keyring, second),
        AsText(HmacSha256Of(HmacKey::FromSaved(leaf.data()), {AsBytes("twenty secret bytes.")})));
  }
}

TEST_F(KeyringTest, GivesTheSameKeysWhenOpenedAgain) {
  std::vector<SecondRef> sealed;
  std::vector<std::string> before;
  {
    const auto keyring = Create();
    sealed = SealInEveryHour(keyring.get());
    ASSERT_TRUE(keyring->Close(1000 * SecondIn(kHour, 0)).ok());
    before = ExtractAll(*keyring, sealed);
  }
  EXPECT_EQ(before[0], "");
  const auto keyring = Open();
  ASSERT_TRUE(keyring.ok()) << keyring.status();
  EXPECT_EQ(ExtractAll(**keyring, sealed), before);
  EXPECT_EQ((*keyring)->store_id(), kStoreId);
}

TEST_F(KeyringTest, IsNeverMadeAnew) {
  Create();
  EXPECT_EQ(Keyring::Create(files_, directory_.path(), Key(1), kStoreId, kNowMs).status().code(),
            absl::StatusCode::kAlreadyExists);
}

TEST_F(KeyringTest, SaysWhyItDoesNotOpen) {
  EXPECT_EQ(Open().status(), absl::NotFoundError("keyring is missing"));
  Create();
  EXPECT_EQ(Open(2).status(),
            absl::FailedPreconditionError(
                "the root key is not the one that keys/keyring was made or last rotated with: let "
                "keys.root_key_file or keys.root_key_credential name that one, which after "
                "--rotate-root-key is the new one, or move the whole data directory away to start "
                "empty"));
  EXPECT_EQ(Keyring::CheckRootKey(files_, directory_.path(), Key(2)), Open(2).status());
  EXPECT_EQ(Keyring::CheckRootKey(files_, directory_.path(), Key(1)), absl::OkStatus());
  WriteRaw(path_, std::string("MAYFKEYS\0\0\0\1", 12) + std::string(100, 'x'));
  EXPECT_EQ(
      Open().status(),
      absl::FailedPreconditionError(
          "the keyring keys/keyring is not of the format that this program reads: run the "
          "version of mayflyd that wrote it until its calls have ended, 24 h at most, or move "
          "the whole data directory away to start empty"));
  for (const size_t size : {size_t{0}, size_t{512}, size_t{kKeyringBytes - 1}}) {
    WriteRaw(path_, std::string(size, '\0'));
    EXPECT_EQ(Open().status(), absl::DataLossError(kDamaged)) << size;
  }
}

// Either copy of every sector may be damaged, zeroed or exchanged with another sector's; the other one
// counts, and mends it.
TEST_F(KeyringTest, OpensWithEitherCopyAndMendsTheOther) {
  std::vector<SecondRef> sealed;
  std::vector<std::string> expected;
  {
    const auto keyring = Create();
    for (const Hour hour : keyring->Hours()) {
      for (const uint32_t second : {1, 2}) {
        sealed.push_back(Seal(keyring.get(), SecondIn(hour, second)));
      }
    }
    ASSERT_TRUE(keyring->Close(1000 * SecondIn(kHour, 1)).ok());
    expected = ExtractAll(*keyring, sealed);
  }
  const std::string good = ReadRaw(path_);
  std::vector<uint64_t> offsets;
  for (const KeyringPlace& place : {kCopyA, kCopyB}) {
    offsets.push_back(OffsetOfKeyringHeader(place));
    for (size_t cell = 0; cell < kKeyringCells; ++cell) {
      offsets.push_back(OffsetOfKeyringCell(place, cell));
    }
  }
  for (const uint64_t offset : offsets) {
    for (const int fault : {0, 1, 2}) {
      std::string bad = good;
      if (fault == 0) bad[offset + offset % 120] ^= 4;
      if (fault == 1) bad.replace(offset, kKeyringSectorBytes, kKeyringSectorBytes, '\0');
      if (fault == 2) bad.replace(offset, kKeyringSectorBytes, kKeyringSectorBytes, 'x');
      WriteRaw(path_, bad);
      const auto keyring = Open();
      ASSERT_TRUE(keyring.ok()) << offset << " " << fault << keyring.status();
      ASSERT_EQ(ExtractAll(**keyring, sealed), expected);
      ASSERT_TRUE(ReadRaw(path_) == good) << offset << " " << fault;
    }
  }
}

TEST_F(KeyringTest, RefusesASectorThatIsDamagedInBothCopies) {
  Create();
  const std::string good = ReadRaw(path_);
  for (size_t i = 0; i < 124; ++i) {
    for (const size_t cell : {size_t{0}, size_t{1}, size_t{40}}) {
      std::string bad = good;
      for (const KeyringPlace& place : {kCopyA, kCopyB}) {
        bad[OffsetOfKeyringCell(place, cell) + i] ^= static_cast<char>(1 << i % 8);
      }
      WriteRaw(path_, bad);
      ASSERT_EQ(Open().status(), absl::DataLossError(kDamaged)) << cell << " byte " << i;
    }
    if (i >= 56) continue;
    std::string bad = good;
    for (const KeyringPlace& place : {kCopyA, kCopyB}) {
      bad[OffsetOfKeyringHeader(place) + i] ^= static_cast<char>(1 << i % 8);
    }
    WriteRaw(path_, bad);
    const absl::Status status = Open().status();
    if (i >= 8 && i < 12) {
      EXPECT_FALSE(status.ok()) << i;  // the version may read as an older one
    } else {
      ASSERT_EQ(status, absl::DataLossError(kDamaged)) << "header byte " << i;
    }
  }
  WriteRaw(path_, good);
  EXPECT_TRUE(Open().ok());
}

// The checksum is for accidents; who can write it anew still cannot forge or move a key.
TEST_F(KeyringTest, NoticesForgedCellsUnderARightChecksum) {
  Create();
  const std::string good = ReadRaw(path_);
  const auto with = [&](size_t place, const KeyringCell& cell) {
    std::string content = good;
    const KeyringSector sector = EncodeKeyringCell(cell);
    for (const KeyringPlace& copy : {kCopyA, kCopyB}) {
      PutSector(sector, OffsetOfKeyringCell(copy, place), &content);
    }
    return content;
  };
  const KeyringCell first = CellAt(good, kCopyA, 1);
  const KeyringCell second = CellAt(good, kCopyA, 2);
  std::vector<KeyringCell> forged(6, first);
  forged[0].hour += 1;
  forged[1].first_open = 1;
  forged[2].number += kKeyringCells;
  forged[3].sealed_key[103] ^= 1;
  forged[4].sealed_key = second.sealed_key;
  forged[5] = second;
  for (const KeyringCell& cell : forged) {
    WriteRaw(path_, with(1, cell));
    EXPECT_EQ(Open().status(), absl::DataLossError(kDamaged));
  }
  // A key of another store under the same root key.
  WriteRaw(path_, good);
  std::string other = good;
  const KeyringSector header = EncodeKeyringHeader(Key(1), {.store_id = {9}});
  for (const KeyringPlace& copy : {kCopyA, kCopyB}) {
    PutSector(header, OffsetOfKeyringHeader(copy), &other);
  }
  WriteRaw(path_, other);
  EXPECT_EQ(Open().status(), absl::DataLossError(kDamaged));
}

TEST_F(KeyringTest, MakesOnlyTheKeysThatAreMissing) {
  FaultPlan plan;
  FaultFileSystem files(&plan, directory_ / "scratch");
  auto keyring = Create();
  const SecondRef last = Seal(keyring.get(), SecondIn(kHour + 26, 0));
  const std::string before = ExtractText(*keyring, last);
  keyring = nullptr;
  auto watched = Keyring::Open(&files, directory_.path(), Key(1));
  ASSERT_TRUE(watched.ok());
  plan.NeverFail();
  EXPECT_TRUE((*watched)->EnsureAhead(kNowMs).ok());
  EXPECT_EQ(plan.operations(), 0u) << "nothing is missing, nothing is written";
  EXPECT_TRUE((*watched)->EnsureAhead(kNowMs + 2 * kHourMs).ok());
  EXPECT_EQ((*watched)->Hours().size(), 29u);
  EXPECT_EQ(ExtractText(**watched, last), before);
}

// ---- Closing

TEST_F(KeyringTest, ClosesWhatIsOverAndNothingElse) {
  const auto keyring = Create();
  const std::vector<SecondRef> sealed = SealInEveryHour(keyring.get());
  const std::vector<std::string> before = ExtractAll(*keyring, sealed);
  std::vector<int64_t> moments = {Now::kNeverMs, 0};
  for (const uint32_t second : {0, 1, 2, 1799, 1800, 3598, 3599}) {
    moments.push_back(1000 * SecondIn(kHour, second) - 1);
    moments.push_back(1000 * SecondIn(kHour, second));
  }
  moments.push_back(1000 * SecondIn(kHour + 1, 1) + 999);
  moments.push_back(1000 * SecondIn(kHour + 4, 1800));
  moments.push_back(1000 * SecondIn(kHour, 5));  // a clock that was corrected
  moments.push_back(1000 * SecondIn(kHour + 26, 3599));
  int64_t passed_ms = 0;
  for (const int64_t erase_ms : moments) {
    ASSERT_TRUE(keyring->Close(erase_ms).ok());
    passed_ms = std::max(passed_ms, erase_ms);
    for (size_t i = 0; i < sealed.size(); ++i) {
      const bool is_over = 1000 * sealed[i].due_s <= passed_ms;
      EXPECT_EQ(keyring->IsClosed(sealed[i]), is_over) << sealed[i].due_s << " at " << erase_ms;
      EXPECT_EQ(ExtractText(*keyring, sealed[i]), is_over ? "" : before[i]);
      const auto extracted = keyring->Extract(sealed[i], AsBytes("x"));
      EXPECT_EQ(absl::IsNotFound(extracted.status()), is_over);
    }
  }
  EXPECT_THAT(keyring->Hours(), IsEmpty());
}

TEST_F(KeyringTest, LeavesNothingOfAClosedSecondInTheFile) {
  const auto keyring = Create();
  const SecondRef second = Seal(keyring.get(), SecondIn(kHour, 100));
  const size_t cell = CellOf(second.hour_key);
  const KeyringCell before = CellAt(ReadRaw(path_), kCopyA, cell);
  ASSERT_TRUE(keyring->Close(1000 * second.due_s).ok());
  const std::string content = ReadRaw(path_);
  EXPECT_EQ(content.find(std::string(AsText(before.sealed_key))), std::string::npos);
  const KeyringCell after = CellAt(content, kCopyA, cell);
  EXPECT_EQ(after, CellAt(content, kCopyB, cell));
  EXPECT_EQ(after.first_open, 101u);
  EXPECT_EQ(after.number, before.number);
  ASSERT_TRUE(keyring->Close(1000 * SecondIn(kHour, 3599)).ok());
  const KeyringCell ended = CellAt(ReadRaw(path_), kCopyB, cell);
  EXPECT_FALSE(ended.is_open());
  EXPECT_EQ(ended.sealed_key, KeyringCell().sealed_key);
  EXPECT_EQ(ended.number, before.number) << "or it would be given again";
}

TEST_F(KeyringTest, ACopyFromBeforeIsOverwrittenByTheNextStart) {
  auto keyring = Create();
  const std::vector<SecondRef> sealed = {Seal(keyring.get(), SecondIn(kHour, 100)),
                                         Seal(keyring.get(), SecondIn(kHour, 101))};
  const std::string before = ReadRaw(path_);
  ASSERT_TRUE(keyring->Close(1000 * sealed[0].due_s).ok());
  const std::vector<std::string> expected = ExtractAll(*keyring, sealed);
  keyring = nullptr;
  const std::string after = ReadRaw(path_);
  for (const KeyringPlace& stale : {kCopyA, kCopyB}) {
    // A crash between the two copies, or a disk that lost the second.
    const uint64_t offset = OffsetOfKeyringCell(stale, CellOf(sealed[0].hour_key));
    std::string content = after;
    content.replace(offset, kKeyringSectorBytes, SectorOf(before, offset));
    WriteRaw(path_, content);
    const auto opened = Open();
    ASSERT_TRUE(opened.ok());
    EXPECT_EQ(ExtractAll(**opened, sealed), expected);
    EXPECT_TRUE(ReadRaw(path_) == after);
  }
}

TEST_F(KeyringTest, WritesOnlyWhereSomethingWasSealed) {
  std::filesystem::create_directory(directory_ / "scratch");
  FaultPlan plan;
  FaultFileSystem files(&plan, directory_ / "scratch");
  auto keyring = Keyring::Create(&files, directory_.path(), Key(1), kStoreId, kNowMs);
  ASSERT_TRUE(keyring.ok());
  const SecondRef second = Seal(keyring->get(), SecondIn(kHour, 100));
  plan.NeverFail();
  EXPECT_TRUE((*keyring)->Close(1000 * SecondIn(kHour, 99)).ok());
  EXPECT_EQ(plan.operations(), 0u);
  EXPECT_TRUE((*keyring)->IsClosed({.hour_key = second.hour_key, .due_s = SecondIn(kHour, 99)}));
  EXPECT_TRUE((*keyring)->Close(1000 * SecondIn(kHour, 105)).ok());
  EXPECT_EQ(plan.operations(), 4u) << "two copies, two syncs";
  EXPECT_TRUE((*keyring)->Close(1000 * SecondIn(kHour, 3598)).ok());
  EXPECT_EQ(plan.operations(), 4u);
  EXPECT_TRUE((*keyring)->Close(1000 * SecondIn(kHour, 3599)).ok());
  EXPECT_EQ(plan.operations(), 8u) << "an hour's end frees its cell";
}

TEST_F(KeyringTest, WritesInEverySecondUntilItKnowsWhatEarlierProcessesHaveSealed) {
  Create();
  std::filesystem::create_directory(directory_ / "scratch");
  FaultPlan plan;
  FaultFileSystem files(&plan, directory_ / "scratch");
  auto opened = Keyring::Open(&files, directory_.path(), Key(1));
  ASSERT_TRUE(opened.ok());
  Keyring& keyring = **opened;
  const auto writes_when_closing = [&](uint32_t second) {
    const uint64_t before = plan.operations();
    EXPECT_TRUE(keyring.Close(1000 * SecondIn(kHour, second)).ok());
    return plan.operations() > before;
  };
  EXPECT_TRUE(writes_when_closing(10));
  EXPECT_TRUE(writes_when_closing(11));
  // Some payloads are noted, and one is sealed meanwhile.
  keyring.NoteUse(SecondIn(kHour, 20));
  keyring.NoteUse(SecondIn(kHour + 2, 5));
  ASSERT_NE(Seal(&keyring, SecondIn(kHour, 30)).hour_key, 0u);
  EXPECT_TRUE(writes_when_closing(12));
  keyring.AllUsesAreNoted();
  EXPECT_FALSE(writes_when_closing(19));
  EXPECT_TRUE(writes_when_closing(20));
  EXPECT_FALSE(writes_when_closing(29));
  EXPECT_TRUE(writes_when_closing(30));
  EXPECT_FALSE(writes_when_closing(3000));
  EXPECT_TRUE(writes_when_closing(2 * 3600 + 4)) << "an hour's end frees its cell";
  EXPECT_TRUE(writes_when_closing(2 * 3600 + 5));
  EXPECT_FALSE(writes_when_closing(2 * 3600 + 6));
}

TEST_F(KeyringTest, SealsNeverAgainUnderASecondThatWasClosed) {
  const auto keyring = Create();
  const SecondRef early = Seal(keyring.get(), SecondIn(kHour + 1, 100));
  const SecondRef late = Seal(keyring.get(), SecondIn(kHour + 1, 3000));
  const std::string late_text = ExtractText(*keyring, late);
  // A clock that is 90 minutes ahead, and corrected.
  ASSERT_TRUE(keyring->Close(1000 * SecondIn(kHour + 1, 1800)).ok());
  EXPECT_TRUE(absl::IsNotFound(keyring->NumberFor(early.due_s).status()));
  ASSERT_TRUE(keyring->Close(kNowMs).ok());
  ASSERT_TRUE(keyring->EnsureAhead(kNowMs).ok());

  const SecondRef again = Seal(keyring.get(), early.due_s);
  EXPECT_GT(again.hour_key, early.hour_key);
  EXPECT_NE(ExtractText(*keyring, again), "");
  EXPECT_EQ(ExtractText(*keyring, early), "");
  EXPECT_EQ(ExtractText(*keyring, late), late_text) << "its second is not over";
  EXPECT_EQ(Seal(keyring.get(), late.due_s).hour_key, again.hour_key);
  const std::string again_text = ExtractText(*keyring, again);
  auto opened = Open();
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ(ExtractText(**opened, early), "");
  EXPECT_EQ(ExtractText(**opened, late), late_text);
  EXPECT_EQ(ExtractText(**opened, again), again_text);
  EXPECT_EQ(Seal(opened->get(), early.due_s).hour_key, again.hour_key);
  // Both end with the second.
  ASSERT_TRUE((*opened)->Close(1000 * late.due_s).ok());
  EXPECT_EQ(ExtractText(**opened, late), "");
  EXPECT_EQ(ExtractText(**opened, again), "");
}

// A put that comes late, after its second was closed, is no reason for another key.
TEST_F(KeyringTest, MakesNoKeyForSecondsThatAreOver) {
  const auto keyring = Create();
  ASSERT_TRUE(keyring->Close(1000 * SecondIn(kHour, 50)).ok());
  ASSERT_TRUE(keyring->EnsureAhead(1000 * SecondIn(kHour, 40)).ok());
  EXPECT_TRUE(absl::IsNotFound(keyring->NumberFor(SecondIn(kHour, 50)).status()));
  EXPECT_EQ(*keyring->NumberFor(SecondIn(kHour, 51)), 1u);
  ASSERT_TRUE(keyring->Close(1000 * SecondIn(kHour, 3599)).ok());
  ASSERT_TRUE(keyring->EnsureAhead(1000 * SecondIn(kHour, 3590)).ok());
  EXPECT_EQ(keyring->Hours().front(), kHour + 1);
}

TEST_F(KeyringTest, GivesANumberOnceAlsoWhenItsCellIsUsedAgain) {
  auto keyring = Create();
  std::map<HourKeyNumber, int64_t> given;
  for (int hour = 0; hour < 200; ++hour) {
    const int64_t now_ms = kNowMs + hour * kHourMs;
    ASSERT_TRUE(keyring->EnsureAhead(now_ms).ok());
    const SecondRef second = Seal(keyring.get(), SecondIn(kHour + hour + 26, 9));
    ASSERT_TRUE(given.emplace(second.hour_key, second.due_s).second) << second.hour_key;
    ASSERT_TRUE(keyring->Close(now_ms).ok());
    if (hour % 50 == 7) {
      keyring = *Open();
    }
    ASSERT_EQ(keyring->Hours().size(), 27u);
  }
  for (const auto& [number, due_s] : given) {
    const SecondRef second = {.hour_key = number, .due_s = due_s};
    const bool is_over = due_s * 1000 <= kNowMs + 199 * kHourMs;
    EXPECT_EQ(keyring->IsClosed(second), is_over);
    EXPECT_EQ(ExtractText(*keyring, second).empty(), is_over);
  }
}

// A keyring that was put back from an older copy would else say of newer payloads that they have ended.
TEST_F(KeyringTest, ANumberThatWasNeverGivenIsDamage) {
  const auto keyring = Create();
  for (const HourKeyNumber number : {0u, 28u, 65u, kHourKeyNumberMax}) {
    const SecondRef second = {.hour_key = number, .due_s = SecondIn(kHour, 9)};
    EXPECT_FALSE(keyring->IsClosed(second));
    EXPECT_TRUE(absl::IsDataLoss(keyring->Extract(second, AsBytes("x")).status()));
  }
  const SecondRef other_hour = {.hour_key = 1, .due_s = SecondIn(kHour + 1, 9)};
  EXPECT_TRUE(absl::IsDataLoss(keyring->Extract(other_hour, AsBytes("x")).status()));
}

TEST_F(KeyringTest, NamesTheMissingHours) {
  const auto keyring = Create();
  EXPECT_THAT(keyring->MissingHours(kNowMs), IsEmpty());
  EXPECT_THAT(keyring->MissingHours(kNowMs + 2 * kHourMs), IsEmpty());
  EXPECT_THAT(keyring->MissingHours(kNowMs + 4 * kHourMs), ElementsAre(kHour + 27, kHour + 28));
}

TEST_F(KeyringTest, RefusesMoreOpenKeysThanItHasCells) {
  const auto keyring = Create();
  int64_t now_ms = kNowMs + 27 * kHourMs;
  ASSERT_TRUE(keyring->EnsureAhead(now_ms).ok());
  now_ms += 27 * kHourMs;
  EXPECT_EQ(keyring->EnsureAhead(now_ms),
            absl::ResourceExhaustedError("hour_key_count would be 65, limit is 64"));
  EXPECT_FALSE(keyring->has_failed());
  EXPECT_EQ((*Open())->Hours().size(), 54u);
  ASSERT_TRUE(keyring->Close(kNowMs + 27 * kHourMs).ok());
  EXPECT_TRUE(keyring->EnsureAhead(now_ms).ok());
  EXPECT_EQ((*Open())->Hours().size(), 54u);
}

// ---- Another root key

TEST_F(KeyringTest, IsSealedAnewWithTheSameKeys) {
  const auto keyring = Create();
  std::vector<SecondRef> sealed = SealInEveryHour(keyring.get());
  ASSERT_TRUE(keyring->Close(1000 * SecondIn(kHour + 1, 0)).ok());
  // Closed in memory only, since nothing was sealed under it.
  ASSERT_TRUE(keyring->Close(1000 * SecondIn(kHour + 1, 0) + 2500).ok());
  const std::vector<std::string> before = ExtractAll(*keyring, sealed);
  const std::string content = ReadRaw(path_);
  const KeyringCell old_cell = CellAt(content, kCopyA, 3);
  ASSERT_TRUE(keyring->Rewrap(Key(2)).ok());
  EXPECT_EQ(Open(1).status().code(), absl::StatusCode::kFailedPrecondition);
  const std::string rewrapped = ReadRaw(path_);
  EXPECT_EQ(rewrapped.size(), kKeyringBytes);
  EXPECT_EQ(rewrapped.find(std::string(AsText(old_cell.sealed_key))), std::string::npos);
  EXPECT_TRUE(rewrapped.substr(0, kKeyringBankBytes) == std::string(kKeyringBankBytes, '\0'));
  ASSERT_TRUE(keyring->Rewrap(Key(2)).ok()) << "again, after a crash before the answer";
  ASSERT_TRUE(keyring->EnsureAhead(kNowMs + 2 * kHourMs).ok());
  const auto opened = Open(2);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ((*opened)->Hours().size(), 28u);
  EXPECT_EQ(ExtractAll(*keyring, sealed), before);
  EXPECT_EQ(ExtractAll(**opened, sealed), before);
}

TEST_F(KeyringTest, IsUsedByManyThreadsWhileItChanges) {
  const auto keyring = Create();
  const SecondRef last = Seal(keyring.get(), SecondIn(kHour + 26, 3599));
  const std::string expected = ExtractText(*keyring, last);
  std::atomic<bool> done = false;
  std::vector<std::thread> readers;
  for (int i = 0; i < 4; ++i) {
    readers.emplace_back([&, i] {
      uint32_t second = 0;
      while (!done) {
        EXPECT_EQ(ExtractText(*keyring, last), expected);
        const SecondRef own = Seal(keyring.get(), SecondIn(kHour + 10 + i, second++ % 3600));
        if (own.hour_key != 0 && !ExtractText(*keyring, own).empty()) continue;
        EXPECT_TRUE(own.hour_key == 0 || keyring->IsClosed(own));
      }
    });
  }
  for (int minute = 1; minute <= 20 * 60; minute += 7) {
    const int64_t now_ms = kNowMs + int64_t{minute} * 60'000;
    EXPECT_TRUE(keyring->EnsureAhead(now_ms).ok());
    EXPECT_TRUE(keyring->Close(now_ms).ok());
    if (minute % 210 == 1) {
      EXPECT_TRUE(keyring->Rewrap(Key(2)).ok());
    }
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(keyring->Hours().front(), kHour + 19);
}

}  // namespace
}  // namespace mayfly
