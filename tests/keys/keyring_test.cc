#include "keys/keyring.h"

#include <atomic>
#include <fstream>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "base/now.h"
#include "crypto/hmac.h"
#include "keys/keyring_use.h"
#include "support/descriptor_famine.h"
#include "support/fault_file_system.h"
#include "support/raw_file.h"
#include "support/temporary_directory.h"

namespace mayfly {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

void WriteRaw(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

std::string WithNewChecksum(std::string content) {
  content.resize(content.size() - 4);
  AppendBigEndian(&content, Crc32c(AsBytes(content)));
  return content;
}

absl::StatusCode CodeOf(const Keyring& keyring, EpochHour hour) {
  return keyring.Extract(hour, AsBytes("twenty secret bytes.")).status().code();
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

  FileSystem* const files_ = PosixFileSystem();
  TemporaryDirectory directory_;
  const std::string path_ = directory_ / "keyring";
};

TEST_F(KeyringTest, FloorsADeadlineToItsHour) {
  static_assert(EpochOfDeadline(0) == 0);
  static_assert(EpochOfDeadline(3599999) == 0);
  static_assert(EpochOfDeadline(3600000) == 1);
  static_assert(EpochOfDeadline(-1) == -1);
  static_assert(EpochOfDeadline(-3600000) == -1);
  static_assert(EpochOfDeadline(-3600001) == -2);
}

TEST_F(KeyringTest, HasKeysForTheHoursAheadAndNoOthers) {
  EXPECT_FALSE(Keyring::Exists(files_, directory_.path()));
  const auto keyring = Create();
  EXPECT_TRUE(Keyring::Exists(files_, directory_.path()));
  std::vector<EpochHour> expected;
  for (EpochHour hour = kHour; hour <= kHour + 26; ++hour) expected.push_back(hour);
  EXPECT_EQ(keyring->Hours(), expected);
  EXPECT_EQ(CodeOf(*keyring, kHour - 1), absl::StatusCode::kNotFound);
  EXPECT_EQ(CodeOf(*keyring, kHour + 27), absl::StatusCode::kNotFound);
  EXPECT_NE(ExtractText(*keyring, kHour), ExtractText(*keyring, kHour + 1));
}

TEST_F(KeyringTest, ExtractsWithTheKeyThatIsWrappedInTheFile) {
  const auto keyring = Create();
  const auto wrapped = DecodeKeyring(Key(1), ReadRaw(path_));
  ASSERT_TRUE(wrapped.ok()) << wrapped.status();
  ASSERT_EQ(wrapped->keys.size(), 27u);
  for (const auto& [hour, text] : wrapped->keys) {
    const auto key = UnwrapEpochKey(Key(1), hour, text);
    ASSERT_TRUE(key.ok());
    // RFC 5869 section 2.2: HKDF-Extract(salt, IKM) = HMAC(salt, IKM).
    const Sha256Digest expected =
        HmacSha256Of(HmacKey(key->ExposeBytes()), {AsBytes("twenty secret bytes.")});
    EXPECT_EQ(ExtractText(*keyring, hour), AsText(expected));
  }
}

TEST_F(KeyringTest, GivesTheSameKeysWhenOpenedAgain) {
  std::vector<std::string> before;
  {
    const auto keyring = Create();
    for (EpochHour hour : keyring->Hours()) before.push_back(ExtractText(*keyring, hour));
  }
  const auto keyring = Open();
  ASSERT_TRUE(keyring.ok()) << keyring.status();
  std::vector<std::string> after;
  for (EpochHour hour : (*keyring)->Hours()) after.push_back(ExtractText(**keyring, hour));
  EXPECT_EQ(before, after);
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
}

TEST_F(KeyringTest, NoticesEveryFlippedByteAndEveryCut) {
  Create();
  const std::string good = ReadRaw(path_);
  ASSERT_EQ(good.size(), 48 + 27 * 112 + 4u);
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ (1 << i % 8));
    ASSERT_EQ(DecodeKeyring(Key(1), bad).status().code(), absl::StatusCode::kDataLoss) << i;
    ASSERT_EQ(DecodeKeyring(Key(1), good.substr(0, i)).status().code(), absl::StatusCode::kDataLoss)
        << "cut at " << i;
    if (i % 100 != 0) continue;
    WriteRaw(path_, bad);
    ASSERT_EQ(
        Open().status(),
        absl::DataLossError("the keyring keys/keyring is damaged: restore the data directory, or "
                            "move it away to start empty"))
        << i;
  }
  EXPECT_FALSE(DecodeKeyring(Key(1), good + "x").ok());
  WriteRaw(path_, good);
  EXPECT_TRUE(Open().ok());
}

// The checksum is for accidents; who can write it anew still cannot forge or move a key.
TEST_F(KeyringTest, NoticesForgedEntriesUnderARightChecksum) {
  Create();
  const std::string good = ReadRaw(path_);
  for (size_t i = 0; i < good.size() - 4; i += 37) {
    // The root check: then the root key is said to be another. The store id names no key.
    if (i >= 12 && i < 44) continue;
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    WriteRaw(path_, WithNewChecksum(bad));
    ASSERT_EQ(Open().status().code(), absl::StatusCode::kDataLoss) << "byte " << i;
  }
  std::string swapped = good;
  swapped.replace(48 + 8, 104, good, 48 + 112 + 8, 104);
  swapped.replace(48 + 112 + 8, 104, good, 48 + 8, 104);
  WriteRaw(path_, WithNewChecksum(swapped));
  EXPECT_EQ(Open().status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(KeyringTest, MakesOnlyTheKeysThatAreMissing) {
  FaultPlan plan;
  FaultFileSystem files(&plan, directory_ / "scratch");
  const auto keyring = Create();
  const std::string before = ExtractText(*keyring, kHour + 26);
  auto watched = Keyring::Open(&files, directory_.path(), Key(1));
  ASSERT_TRUE(watched.ok());
  plan.NeverFail();
  EXPECT_TRUE((*watched)->EnsureAhead(kNowMs).ok());
  EXPECT_EQ(plan.operations(), 0u) << "nothing is missing, nothing is written";
  EXPECT_TRUE(keyring->EnsureAhead(kNowMs + 2 * kEpochMs).ok());
  EXPECT_EQ(keyring->Hours().size(), 29u);
  EXPECT_EQ(ExtractText(*keyring, kHour + 26), before);
}

TEST_F(KeyringTest, DestroysHoursThatHavePassedAsAWhole) {
  const auto keyring = Create();
  EXPECT_TRUE(keyring->DestroyPassed(Now::kNeverMs).ok());
  EXPECT_TRUE(keyring->DestroyPassed((kHour + 1) * kEpochMs - 1).ok());
  EXPECT_EQ(keyring->Hours().front(), kHour);
  EXPECT_TRUE(keyring->DestroyPassed((kHour + 1) * kEpochMs).ok());
  EXPECT_EQ(keyring->Hours().front(), kHour + 1);
  EXPECT_EQ(CodeOf(*keyring, kHour), absl::StatusCode::kNotFound);
  EXPECT_EQ(DecodeKeyring(Key(1), ReadRaw(path_))->keys.count(kHour), 0u);
  EXPECT_EQ((*Open())->Hours(), keyring->Hours());
}

TEST_F(KeyringTest, OverwritesTheFileThatItReplaced) {
  const auto keyring = Create();
  const std::string kept = directory_ / "kept";
  ASSERT_EQ(link(path_.c_str(), kept.c_str()), 0);
  ASSERT_TRUE(keyring->DestroyPassed((kHour + 1) * kEpochMs).ok());
  const std::string remains = ReadRaw(kept);
  EXPECT_EQ(remains, std::string(48 + 27 * 112 + 4, '\0'));
}

TEST_F(KeyringTest, OverwritesWhatACrashLeft) {
  Create();
  const std::string kept = directory_ / "kept";
  WriteRaw(directory_ / "keyring.new", "wrapped keys");
  ASSERT_EQ(link((directory_ / "keyring.new").c_str(), kept.c_str()), 0);
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(ReadRaw(kept), std::string(12, '\0'));
  EXPECT_FALSE(files_->Exists(directory_ / "keyring.new"));
}

TEST_F(KeyringTest, NamesTheMissingHours) {
  const auto keyring = Create();
  EXPECT_THAT(keyring->MissingHours(kNowMs), IsEmpty());
  EXPECT_THAT(keyring->MissingHours(kNowMs + 2 * kEpochMs), IsEmpty());
  EXPECT_THAT(keyring->MissingHours(kNowMs + 4 * kEpochMs), ElementsAre(kHour + 27, kHour + 28));
}

TEST_F(KeyringTest, RefusesMoreKeysThanItsLimit) {
  const auto keyring = Create();
  int64_t now_ms = kNowMs;
  absl::Status status;
  while (status.ok()) status = keyring->EnsureAhead(now_ms += 27 * kEpochMs);
  EXPECT_EQ(status, absl::ResourceExhaustedError("epoch_key_count would be 1026, limit is 1024"));
  EXPECT_EQ((*Open())->Hours().size(), 999u);
}

TEST_F(KeyringTest, IsWrappedAnewWithTheSameKeys) {
  const auto keyring = Create();
  std::vector<std::string> before;
  for (EpochHour hour : keyring->Hours()) before.push_back(ExtractText(*keyring, hour));
  ASSERT_TRUE(keyring->Rewrap(Key(2)).ok());
  EXPECT_EQ(Open(1).status().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(keyring->Rewrap(Key(2)).ok()) << "again, after a crash before the answer";
  ASSERT_TRUE(keyring->EnsureAhead(kNowMs + kEpochMs).ok());
  const auto opened = Open(2);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ((*opened)->Hours().size(), 28u);
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(ExtractText(*keyring, kHour + static_cast<EpochHour>(i)), before[i]);
    EXPECT_EQ(ExtractText(**opened, kHour + static_cast<EpochHour>(i)), before[i]);
  }
}

TEST_F(KeyringTest, IsUsedByManyThreadsWhileItChanges) {
  const auto keyring = Create();
  const std::string expected = ExtractText(*keyring, kHour + 26);
  std::atomic<bool> done = false;
  std::vector<std::thread> readers;
  for (int i = 0; i < 4; ++i) {
    readers.emplace_back([&] {
      while (!done) EXPECT_EQ(ExtractText(*keyring, kHour + 26), expected);
    });
  }
  for (int hour = 1; hour <= 20; ++hour) {
    EXPECT_TRUE(keyring->EnsureAhead(kNowMs + hour * kEpochMs).ok());
    EXPECT_TRUE(keyring->DestroyPassed(kNowMs + hour * kEpochMs).ok());
  }
  EXPECT_TRUE(keyring->Rewrap(Key(2)).ok());
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(keyring->Hours().front(), kHour + 20);
}

TEST_F(KeyringTest, GoesOnAfterAnOpenThatFoundNoDescriptor) {
  const auto keyring = Create();
  const int64_t later_ms = kNowMs + 5 * kEpochMs;
  {
    const DescriptorFamine famine;
    EXPECT_TRUE(WroteNothing(keyring->EnsureAhead(later_ms)));
  }
  EXPECT_TRUE(keyring->EnsureAhead(later_ms).ok());
  EXPECT_THAT(keyring->MissingHours(later_ms), IsEmpty());
}

}  // namespace
}  // namespace mayfly
