// A RowTable is RocksDB's memtable for rows that are asked for by their whole key, and read in
// order only by a flush, at a start and by the sweeper's pages.
//
// RocksDB's skip list keeps every row in order at all times, which for a store of short lives is
// most of what it does: a life of a call writes nine rows, each at a cost of ten cache misses, and
// almost all of them annihilate each other before anything asks for their order. Here a row goes
// to the front of its hash bucket; the order is made when an iterator wants it, by sorting what is
// new since the last time and merging. Measured: bench/README.md, "What a life costs".
//
// A SingleDelete that finds its Put in the same table annihilates it at once: an iterator that is
// positioned later sees neither. RocksDB drops such pairs at the flush anyway, as long as there is
// no snapshot between the two; here there never is one. Its count of what a flush should read does
// not know that, hence flush_verify_memtable_count = false.
//
//   insert, get     O(1), about two cache misses
//   iterator        O(n log n) for the n rows since the last iterator, and a merge of all
//   memory          16 bytes a row and 8 a bucket, beside what any memtable keeps; 24 bytes a row
//                   once it was iterated, which RocksDB's accounting does not see
//
// Inserts come from one thread at a time (allow_concurrent_memtable_write = false); everything
// else may run beside them from any thread. An iterator sees the rows of the moment it was first
// positioned.
//
// Not for families with a prefix extractor or a merge operator.
#pragma once

#include "rocksdb/memtablerep.h"

namespace mayfly {

class RowTableFactory : public rocksdb::MemTableRepFactory {
 public:
  // For memtables of `memtable_bytes`.
  explicit RowTableFactory(size_t memtable_bytes);

  using rocksdb::MemTableRepFactory::CreateMemTableRep;
  rocksdb::MemTableRep* CreateMemTableRep(const rocksdb::MemTableRep::KeyComparator& comparator,
                                          rocksdb::Allocator* allocator,
                                          const rocksdb::SliceTransform* prefix_extractor,
                                          rocksdb::Logger* logger) override;
  const char* Name() const override { return "MayflyRowTable"; }

 private:
  const size_t bucket_count_;
};

}  // namespace mayfly
