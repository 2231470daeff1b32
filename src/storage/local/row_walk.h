// A RowWalk goes over the rows of a family in their order, and steps over what cannot be read: one bad
// block must not hide what lies behind it.
//
// Where the damage ends nobody tells, so it is looked for: in steps that double, then by bisection
// over the keys as numbers. That costs up to 600 reads of the bad block, about 10 ms. Rows of other
// files whose keys lie within the block's range are stepped over too.
//
//   RowWalk rows(database, Family::kDeadlines, from, end);
//   for (; rows.Valid(); rows.Next()) ...
//   if (!rows.status().ok()) ...   // given up
//
// Holds a RocksDB iterator: keep it short. Not thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "rocksdb/iterator.h"

#include "storage/local/database.h"

namespace mayfly {

class RowWalk {
 public:
  // How many stretches of damage one walk steps over before it gives up.
  static constexpr size_t kSkipsMax = 256;

  // Over keys from `from` on and before `end`, which is not a bound when it is empty.
  RowWalk(const Database& database, Family family, absl::string_view from = "",
          absl::string_view end = "");
  RowWalk(const RowWalk&) = delete;
  RowWalk& operator=(const RowWalk&) = delete;

  bool Valid() const { return rows_->Valid(); }
  void Next();
  void Seek(absl::string_view from);
  absl::string_view key() const { return AsText(rows_->key()); }
  absl::string_view value() const { return AsText(rows_->value()); }

  // Not OK when the walk was given up.
  rocksdb::Status status() const { return rows_->status(); }
  // How often it has stepped over damage, and what was said of the last one.
  size_t skips() const { return skips_; }
  const std::string& damage() const { return damage_; }

 private:
  // Longer than any key.
  static constexpr size_t kWidth = 40;
  static constexpr size_t kBits = kWidth * 8;
  using Position = std::array<uint8_t, kWidth>;

  void Open();
  // `from` could not be read.
  void StepOver(const std::string& from);
  bool IsReadableFrom(const Position& position);
  static Position Plus(Position position, size_t bit);

  const Database& database_;
  const Family family_;
  const std::string end_;
  const rocksdb::Slice end_slice_;
  std::unique_ptr<rocksdb::Iterator> rows_;
  size_t skips_ = 0;
  std::string damage_;
};

}  // namespace mayfly
