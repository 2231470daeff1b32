#include "storage/local/row_walk.h"

#include <algorithm>

namespace mayfly {

RowWalk::RowWalk(const Database& database, Family family, absl::string_view from,
                 absl::string_view end)
    : database_(database), family_(family), end_(end), end_slice_(end_) {
  Open();
  Seek(from);
}

void RowWalk::Open() {
  rocksdb::ReadOptions options;
  if (!end_.empty()) options.iterate_upper_bound = &end_slice_;
  rows_.reset(database_->NewIterator(options, database_.family(family_)));
}

void RowWalk::Seek(absl::string_view from) {
  rows_->Seek(AsSlice(from));
  if (!rows_->status().ok()) StepOver(std::string(from));
}

void RowWalk::Next() {
  const std::string last = rows_->key().ToString();
  rows_->Next();
  // What is looked for comes after the last row: the key that is the least longer.
  if (!rows_->status().ok()) StepOver(last + '\0');
}

void RowWalk::StepOver(const std::string& from) {
  damage_ = rows_->status().ToString();
  // Left with the error when there are too many.
  if (++skips_ > kSkipsMax) return;
  Position unreadable{};
  std::copy_n(from.begin(), std::min(from.size(), kWidth), unreadable.begin());
  size_t bit = 0;
  while (bit < kBits && !IsReadableFrom(Plus(unreadable, bit))) ++bit;
  // Given up, or read already.
  if (bit == kBits || bit == 0) return;
  unreadable = Plus(unreadable, --bit);
  while (bit > 0) {
    const Position middle = Plus(unreadable, --bit);
    if (!IsReadableFrom(middle)) unreadable = middle;
  }
  (void)IsReadableFrom(Plus(unreadable, 0));
}

bool RowWalk::IsReadableFrom(const Position& position) {
  Open();  // one that has failed keeps its error
  rows_->Seek(rocksdb::Slice(reinterpret_cast<const char*>(position.data()), position.size()));
  return rows_->status().ok();
}

// Plus 2^bit; the last position there is when that is beyond it.
RowWalk::Position RowWalk::Plus(Position position, size_t bit) {
  size_t byte = kWidth - 1 - bit / 8;
  unsigned sum = position[byte] + (1u << bit % 8);
  position[byte] = static_cast<uint8_t>(sum);
  while (sum > 0xff) {
    if (byte == 0) {
      position.fill(0xff);
      return position;
    }
    sum = position[--byte] + 1u;
    position[byte] = static_cast<uint8_t>(sum);
  }
  return position;
}

}  // namespace mayfly
