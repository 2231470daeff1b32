// One MultiGet of many keys in one family, with its storage.
#pragma once

#include <cstddef>
#include <vector>

#include "absl/strings/string_view.h"
#include "rocksdb/db.h"
#include "rocksdb/options.h"

#include "storage/local/database.h"

namespace mayfly {

template <typename Key>
class BatchedGet {
 public:
  explicit BatchedGet(size_t count) : values_(count), statuses_(count) {
    keys_.reserve(count);
    slices_.reserve(count);
  }
  void Add(const Key& key) {
    keys_.push_back(key);
    slices_.push_back(AsSlice(keys_.back()));
  }
  void Run(const Database& database, Family family) {
    database->MultiGet(rocksdb::ReadOptions(), database.family(family), slices_.size(),
                       slices_.data(), values_.data(), statuses_.data());
  }
  const rocksdb::Status& status(size_t i) const { return statuses_[i]; }
  absl::string_view value(size_t i) const { return AsText(values_[i]); }

 private:
  std::vector<Key> keys_;
  std::vector<rocksdb::Slice> slices_;
  std::vector<rocksdb::PinnableSlice> values_;
  std::vector<rocksdb::Status> statuses_;
};

}  // namespace mayfly
