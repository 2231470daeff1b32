// RocksDB with row tables against RocksDB with its own skip lists: the same operations give the
// same answers.
#include "storage/local/row_table.h"

#include <atomic>
#include <filesystem>
#include <memory>
#include <random>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "rocksdb/db.h"
#include "rocksdb/table.h"

#include "support/random_seed.h"
#include "support/temporary_directory.h"

namespace mayfly {
namespace {

class TestDatabase {
 public:
  explicit TestDatabase(bool has_row_table) {
    options_.create_if_missing = true;
    options_.allow_concurrent_memtable_write = false;
    options_.disable_auto_compactions = true;
    if (has_row_table) {
      options_.flush_verify_memtable_count = false;
      options_.memtable_factory = std::make_shared<RowTableFactory>(size_t{1} << 20);
    }
    Open();
  }

  rocksdb::DB* operator->() { return database_.get(); }
  void Reopen() {
    database_.reset();
    Open();
  }
  std::string Get(const std::string& key) {
    std::string value;
    const rocksdb::Status status = database_->Get({}, key, &value);
    EXPECT_TRUE(status.ok() || status.IsNotFound()) << status.ToString();
    return status.ok() ? value : "absent";
  }
  void Flush() { ASSERT_TRUE(database_->Flush({}).ok()); }
  uint64_t FileEntries() {
    rocksdb::TablePropertiesCollection tables;
    EXPECT_TRUE(database_->GetPropertiesOfAllTables(&tables).ok());
    uint64_t entries = 0;
    for (const auto& [name, properties] : tables) entries += properties->num_entries;
    return entries;
  }

 private:
  void Open() {
    rocksdb::DB* opened = nullptr;
    const rocksdb::Status status = rocksdb::DB::Open(options_, directory_.path() + "/db", &opened);
    ASSERT_TRUE(status.ok()) << status.ToString();
    database_.reset(opened);
  }

  TemporaryDirectory directory_;
  rocksdb::Options options_;
  std::unique_ptr<rocksdb::DB> database_;
};

// Everything from `first` on, or down from it.
std::string Walk(TestDatabase& database, const std::string& first, bool forward, int limit) {
  const std::unique_ptr<rocksdb::Iterator> rows(database->NewIterator({}));
  std::string walked;
  forward ? rows->Seek(first) : rows->SeekForPrev(first);
  for (; rows->Valid() && limit > 0; --limit) {
    absl::StrAppend(&walked, rows->key().ToString(), "=", rows->value().ToString(), " ");
    forward ? rows->Next() : rows->Prev();
  }
  EXPECT_TRUE(rows->status().ok());
  return walked;
}

TEST(RowTable, AnswersAsTheSkipListDoes) {
  const uint64_t seed = RandomSeed();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  TestDatabase ours(/*has_row_table=*/true);
  TestDatabase theirs(/*has_row_table=*/false);
  const auto both = [&](const auto& operation) {
    ASSERT_TRUE(operation(ours).ok());
    ASSERT_TRUE(operation(theirs).ok());
  };
  // Keys of all lengths, many with a long beginning in common.
  const auto key_of = [](uint64_t number) {
    return absl::StrCat(number % 3 == 0 ? "" : "the beginning of a key ", number);
  };
  std::set<uint64_t> present;
  for (int step = 0; step < 20'000; ++step) {
    const uint64_t number = random() % 400;
    const std::string key = key_of(number);
    const uint64_t choice = random() % 1000;
    if (choice < 400) {
      // As the store does: a row that is there is removed before another takes its place.
      if (present.insert(number).second) {
        both([&](TestDatabase& db) { return db->Put({}, key, absl::StrCat("value ", step)); });
      }
    } else if (choice < 700) {
      if (present.erase(number) == 0) continue;
      both([&](TestDatabase& db) { return db->SingleDelete({}, key); });
    } else if (choice < 950) {
      ASSERT_EQ(ours.Get(key), theirs.Get(key)) << key;
    } else if (choice < 990) {
      const bool forward = random() % 2 == 0;
      ASSERT_EQ(Walk(ours, key, forward, 20), Walk(theirs, key, forward, 20)) << key;
    } else if (choice < 996) {
      ours.Flush();
      theirs.Flush();
    } else {
      ours.Reopen();
      theirs.Reopen();
    }
  }
  EXPECT_EQ(Walk(ours, "", true, 1000), Walk(theirs, "", true, 1000));
  const std::unique_ptr<rocksdb::Iterator> rows(ours->NewIterator({}));
  size_t count = 0;
  for (rows->SeekToLast(); rows->Valid(); rows->Prev()) ++count;
  EXPECT_EQ(count, present.size());
}

TEST(RowTable, WhatIsStoredAndRemovedInItLeavesNothing) {
  TestDatabase database(/*has_row_table=*/true);
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(database->Put({}, absl::StrCat(i), "value").ok());
  for (int i = 0; i < 990; ++i) ASSERT_TRUE(database->SingleDelete({}, absl::StrCat(i)).ok());
  database.Flush();
  EXPECT_EQ(database.FileEntries(), 10u);
  // A row that is already in a file needs its marker.
  ASSERT_TRUE(database->SingleDelete({}, "995").ok());
  database.Flush();
  EXPECT_EQ(database.FileEntries(), 11u);
  EXPECT_EQ(database.Get("995"), "absent");
  EXPECT_EQ(database.Get("996"), "value");
}

TEST(RowTable, AnIteratorKeepsWhatItSaw) {
  TestDatabase database(/*has_row_table=*/true);
  ASSERT_TRUE(database->Put({}, "a", "1").ok());
  ASSERT_TRUE(database->Put({}, "b", "2").ok());
  const std::unique_ptr<rocksdb::Iterator> rows(database->NewIterator({}));
  rows->SeekToFirst();
  ASSERT_TRUE(database->SingleDelete({}, "b").ok());
  ASSERT_TRUE(database->Put({}, "c", "3").ok());
  rows->Next();
  ASSERT_TRUE(rows->Valid());
  EXPECT_EQ(rows->key().ToString(), "b");
  rows->Next();
  EXPECT_FALSE(rows->Valid());
}

TEST(RowTable, ReadersBesideTheWriterSeeWholeRowsOnly) {
  TestDatabase database(/*has_row_table=*/true);
  std::atomic<int> written{0};
  std::atomic<bool> done{false};
  std::vector<std::thread> readers;
  for (int reader = 0; reader < 2; ++reader) {
    readers.emplace_back([&, reader] {
      std::mt19937_64 random(reader);
      while (!done) {
        const int until = written;
        if (until == 0) continue;
        // Of the rows below `until` every third was removed by the time the next was written.
        const int number = static_cast<int>(random() % until);
        const std::string expected =
            number % 3 == 0 && number + 1 < until ? "absent" : absl::StrCat("value ", number);
        if (number % 3 != 0 || number + 1 < until) {
          EXPECT_EQ(database.Get(absl::StrCat(number)), expected);
        }
        if (random() % 64 == 0) {
          const std::unique_ptr<rocksdb::Iterator> rows(database->NewIterator({}));
          for (rows->Seek("5"); rows->Valid(); rows->Next()) {
            ASSERT_EQ(rows->value().ToString(), absl::StrCat("value ", rows->key().ToString()));
          }
        }
      }
    });
  }
  for (int i = 0; i < 20'000; ++i) {
    if (i > 0 && (i - 1) % 3 == 0) {
      ASSERT_TRUE(database->SingleDelete({}, absl::StrCat(i - 1)).ok());
    }
    ASSERT_TRUE(database->Put({}, absl::StrCat(i), absl::StrCat("value ", i)).ok());
    written = i + 1;
    if (i % 5000 == 4999) database.Flush();
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace mayfly
