#include "storage/local/row_table.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <deque>
#include <iterator>
#include <memory>
#include <new>
#include <vector>

#include "absl/hash/hash.h"
#include "absl/numeric/bits.h"
#include "absl/strings/string_view.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/mutex.h"

namespace mayfly {
namespace {

// Memtable bytes per bucket: between a removal, of about 50, and a row of 1 KiB.
constexpr size_t kBytesPerBucket = 256;
constexpr size_t kBucketCountMin = 64;
// RocksDB's internal keys end in sequence and type, the type first (db/dbformat.h).
constexpr size_t kSequenceSize = 8;
constexpr uint8_t kTypeValue = 0x1;
constexpr uint8_t kTypeSingleDeletion = 0x7;

// Lies before each entry, unaligned, and never changes once the entry can be found.
struct Links {
  const char* older_in_bucket = nullptr;
  const char* older = nullptr;
};
// Between the links and the entry: whether it was annihilated.
using Mark = uint8_t;

constexpr size_t kHeadSize = sizeof(Links) + sizeof(Mark);

Links LinksOf(const char* entry) {
  Links links;
  memcpy(&links, entry - kHeadSize, sizeof links);
  return links;
}

std::atomic_ref<Mark> MarkOf(const char* entry) {
  // The entry is const for everybody else, its memory is not.
  return std::atomic_ref<Mark>(*reinterpret_cast<Mark*>(const_cast<char*>(entry) - sizeof(Mark)));
}

bool IsAnnihilated(const char* entry) { return MarkOf(entry).load(std::memory_order_relaxed) != 0; }

uint8_t TypeOf(const rocksdb::Slice& user_key) {
  return static_cast<uint8_t>(user_key.data()[user_key.size()]);
}

rocksdb::Slice UserKeyOf(const rocksdb::Slice& internal_key) {
  return rocksdb::Slice(internal_key.data(), internal_key.size() - kSequenceSize);
}

// An entry with the start of its key, so that sorting seldom follows the pointer.
struct SortedRow {
  uint64_t key_start[2] = {0, 0};
  const char* entry = nullptr;
};

using SortedRows = std::vector<SortedRow>;

}  // namespace

class RowTable final : public rocksdb::MemTableRep {
 public:
  RowTable(const KeyComparator& comparator, rocksdb::Allocator* allocator, size_t bucket_count)
      : MemTableRep(allocator),
        comparator_(comparator),
        bucket_mask_(bucket_count - 1),
        buckets_(std::make_unique<std::atomic<const char*>[]>(bucket_count)) {}

  rocksdb::KeyHandle Allocate(size_t size, char** entry) override {
    char* memory = nullptr;
    MemTableRep::Allocate(kHeadSize + size, &memory);
    *entry = memory + kHeadSize;
    return *entry;
  }

  void Insert(rocksdb::KeyHandle handle) override {
    auto* const entry = static_cast<char*>(handle);
    const rocksdb::Slice user_key = UserKey(entry);
    std::atomic<const char*>& bucket = BucketOf(user_key);
    const Links links{.older_in_bucket = bucket.load(std::memory_order_relaxed),
                      .older = newest_.load(std::memory_order_relaxed)};
    memcpy(entry - kHeadSize, &links, sizeof links);
    Mark mark = 0;
    if (TypeOf(user_key) == kTypeSingleDeletion) {
      const char* const removed = Find(links.older_in_bucket, user_key);
      if (removed != nullptr && TypeOf(UserKey(removed)) == kTypeValue) {
        MarkOf(removed).store(1, std::memory_order_relaxed);
        mark = 1;
      }
    }
    memcpy(entry - sizeof mark, &mark, sizeof mark);
    bucket.store(entry, std::memory_order_release);
    newest_.store(entry, std::memory_order_release);
  }

  bool Contains(const char* key) const override {
    for (const char* entry = FirstOf(UserKey(key)); entry != nullptr; entry = NextOf(entry)) {
      if (comparator_(entry, key) == 0) return true;
    }
    return false;
  }

  // Without the sorted rows: RocksDB relies on a table that is only read keeping its size.
  size_t ApproximateMemoryUsage() override { return (bucket_mask_ + 1) * sizeof buckets_[0]; }

  // RocksDB destroys an iterator that was asked for with an arena, but leaves its memory to the
  // arena. That has no public interface, so the table keeps such memory itself.
  Iterator* GetIterator(rocksdb::Arena* arena) override EXCLUDES_LOCK(mutex_) {
    if (arena == nullptr) return new OrderedIterator(this, nullptr);
    MutexLock lock(&mutex_);
    const auto unused = std::find_if(places_.begin(), places_.end(), [](const Place& place) {
      return !place.is_used.load(std::memory_order_acquire);
    });
    Place& place = unused != places_.end() ? *unused : places_.emplace_back();
    place.is_used.store(true, std::memory_order_relaxed);
    return new (place.memory) OrderedIterator(this, &place);
  }

  // Without a prefix extractor this is what MemTableRep::Get asks for, and only that. It has done
  // with the iterator before it returns and never deletes it, so one for each thread will do.
  // (LookupKey, which Get has, is not public: Get itself cannot be overridden.)
  Iterator* GetDynamicPrefixIterator(rocksdb::Arena* arena) override {
    if (arena != nullptr) return GetIterator(arena);
    static thread_local KeyIterator iterator;
    iterator.Reset(this);
    return &iterator;
  }

 private:
  // The entries of one user key, newest first.
  class KeyIterator final : public Iterator {
   public:
    void Reset(const RowTable* table) {
      table_ = table;
      entry_ = nullptr;
    }
    bool Valid() const override { return entry_ != nullptr; }
    const char* key() const override { return entry_; }
    void Next() override { entry_ = table_->NextOf(entry_); }
    void Seek(const rocksdb::Slice& internal_key, const char* /*memtable_key*/) override {
      entry_ = table_->FirstOf(UserKeyOf(internal_key));
      while (entry_ != nullptr && table_->comparator_(entry_, internal_key) < 0) Next();
    }
    void Prev() override { Unsupported(); }
    void SeekForPrev(const rocksdb::Slice&, const char*) override { Unsupported(); }
    void SeekToFirst() override { Unsupported(); }
    void SeekToLast() override { Unsupported(); }

   private:
    static void Unsupported() { Check(false, "a lookup of one key only seeks it and goes on"); }
    const RowTable* table_ = nullptr;
    const char* entry_ = nullptr;
  };

  struct Place;

  // Marks a place unused. As a base that is named first it is the last to be destroyed: nothing of
  // the iterator is touched any more when another takes the place.
  class PlaceHolder {
   public:
    explicit PlaceHolder(Place* place) : place_(place) {}
    PlaceHolder(const PlaceHolder&) = delete;
    PlaceHolder& operator=(const PlaceHolder&) = delete;
    ~PlaceHolder();

   private:
    Place* const place_;
  };

  class OrderedIterator final : private PlaceHolder, public Iterator {
   public:
    OrderedIterator(RowTable* table, Place* place) : PlaceHolder(place), table_(table) {}

    bool Valid() const override { return rows_ != nullptr && place_ < rows_->size(); }
    const char* key() const override { return (*rows_)[place_].entry; }
    void Next() override { ++place_; }
    // Before the first there is no place: the index wraps to one that is past the end.
    void Prev() override { --place_; }
    void Seek(const rocksdb::Slice& internal_key, const char* /*memtable_key*/) override {
      place_ = CountBefore(internal_key);
    }
    void SeekForPrev(const rocksdb::Slice& internal_key, const char* memtable_key) override {
      Seek(internal_key, memtable_key);
      if (!Valid() || table_->comparator_(key(), internal_key) > 0) Prev();
    }
    void SeekToFirst() override {
      Load();
      place_ = 0;
    }
    void SeekToLast() override {
      Load();
      place_ = rows_->size() - 1;
    }

   private:
    void Load() {
      if (rows_ == nullptr) rows_ = table_->Sorted();
    }
    size_t CountBefore(const rocksdb::Slice& internal_key) {
      Load();
      const auto at = std::lower_bound(rows_->begin(), rows_->end(), internal_key,
                                       [this](const SortedRow& row, const rocksdb::Slice& key) {
                                         return table_->comparator_(row.entry, key) < 0;
                                       });
      return static_cast<size_t>(at - rows_->begin());
    }

    RowTable* const table_;
    std::shared_ptr<const SortedRows> rows_;
    size_t place_ = 0;
  };

  // Memory for an iterator.
  struct Place {
    alignas(OrderedIterator) char memory[sizeof(OrderedIterator)];
    std::atomic<bool> is_used{false};
  };

  std::atomic<const char*>& BucketOf(const rocksdb::Slice& user_key) const {
    const size_t hash =
        absl::Hash<absl::string_view>()(absl::string_view(user_key.data(), user_key.size()));
    return buckets_[hash & bucket_mask_];
  }

  const char* FirstOf(const rocksdb::Slice& user_key) const {
    return Find(BucketOf(user_key).load(std::memory_order_acquire), user_key);
  }
  const char* NextOf(const char* entry) const {
    return Find(LinksOf(entry).older_in_bucket, UserKey(entry));
  }
  const char* Find(const char* entry, const rocksdb::Slice& user_key) const {
    while (entry != nullptr && UserKey(entry) != user_key) entry = LinksOf(entry).older_in_bucket;
    return entry;
  }

  SortedRow RowOf(const char* entry) const {
    const rocksdb::Slice user_key = UserKey(entry);
    uint8_t start[16] = {};
    memcpy(start, user_key.data(), std::min(sizeof start, user_key.size()));
    return {.key_start = {LoadBigEndian<uint64_t>(start), LoadBigEndian<uint64_t>(start + 8)},
            .entry = entry};
  }

  bool IsBefore(const SortedRow& a, const SortedRow& b) const {
    if (a.key_start[0] != b.key_start[0]) return a.key_start[0] < b.key_start[0];
    if (a.key_start[1] != b.key_start[1]) return a.key_start[1] < b.key_start[1];
    return comparator_(a.entry, b.entry) < 0;
  }

  std::shared_ptr<const SortedRows> Sorted() EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    const char* const newest = newest_.load(std::memory_order_acquire);
    if (newest == sorted_newest_) return sorted_;
    const auto is_before = [this](const SortedRow& a, const SortedRow& b) {
      return IsBefore(a, b);
    };
    SortedRows added;
    for (const char* entry = newest; entry != sorted_newest_; entry = LinksOf(entry).older) {
      if (!IsAnnihilated(entry)) added.push_back(RowOf(entry));
    }
    std::sort(added.begin(), added.end(), is_before);
    auto all = std::make_shared<SortedRows>();
    all->reserve(sorted_->size() + added.size());
    std::merge(sorted_->begin(), sorted_->end(), added.begin(), added.end(),
               std::back_inserter(*all), is_before);
    std::erase_if(*all, [](const SortedRow& row) { return IsAnnihilated(row.entry); });
    sorted_ = std::move(all);
    sorted_newest_ = newest;
    return sorted_;
  }

  const KeyComparator& comparator_;
  const size_t bucket_mask_;
  const std::unique_ptr<std::atomic<const char*>[]> buckets_;
  std::atomic<const char*> newest_{nullptr};

  Mutex mutex_;
  // Everything up to this entry, in order.
  const char* sorted_newest_ GUARDED_BY(mutex_) = nullptr;
  std::shared_ptr<const SortedRows> sorted_ GUARDED_BY(mutex_) = std::make_shared<SortedRows>();
  std::deque<Place> places_ GUARDED_BY(mutex_);
};

RowTable::PlaceHolder::~PlaceHolder() {
  if (place_ != nullptr) place_->is_used.store(false, std::memory_order_release);
}

RowTableFactory::RowTableFactory(size_t memtable_bytes)
    : bucket_count_(std::max(kBucketCountMin, absl::bit_floor(memtable_bytes / kBytesPerBucket))) {}

rocksdb::MemTableRep* RowTableFactory::CreateMemTableRep(
    const rocksdb::MemTableRep::KeyComparator& comparator, rocksdb::Allocator* allocator,
    const rocksdb::SliceTransform* prefix_extractor, rocksdb::Logger* /*logger*/) {
  Check(prefix_extractor == nullptr, "a row table's family has no prefix extractor");
  return new RowTable(comparator, allocator, bucket_count_);
}

}  // namespace mayfly
