// A DeadlineSet orders values by the time at which each of them is due.
//
// It is a plain value without lock, thread or clock, so that a test moves time by hand. Add, Remove
// and TakeDue cost O(log n); no operation looks at values that are not due. Values with equal
// deadlines are taken in the order in which they were added. Not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/time/time.h"

namespace mayfly::client {

template <typename T>
class DeadlineSet {
 public:
  // Names one entry. Numbers are never used twice, so the key of an entry that is gone names
  // nothing.
  struct Key {
    absl::Duration due;  // a reading of Elapsed()
    uint64_t number = 0;
    friend bool operator<(const Key& a, const Key& b) {
      return std::tie(a.due, a.number) < std::tie(b.due, b.number);
    }
  };

  Key Add(absl::Duration due, T value) {
    const Key key{.due = due, .number = next_number_++};
    entries_.emplace(key, std::move(value));
    return key;
  }

  // False if the entry has been removed or taken.
  bool Remove(const Key& key) { return entries_.erase(key) > 0; }

  // Takes the first of the entries that are due by `now`. Callers that act on entries take them one
  // by one: an entry that is removed meanwhile is not taken.
  std::optional<T> TakeDue(absl::Duration now) {
    const auto first = entries_.begin();
    if (first == entries_.end() || first->first.due > now) return std::nullopt;
    std::optional<T> value = std::move(first->second);
    entries_.erase(first);
    return value;
  }

  // The first deadline; infinite when the set is empty.
  absl::Duration Earliest() const {
    return entries_.empty() ? absl::InfiniteDuration() : entries_.begin()->first.due;
  }

  // The value with the earliest deadline; null when the set is empty.
  const T* First() const { return entries_.empty() ? nullptr : &entries_.begin()->second; }

  size_t size() const { return entries_.size(); }
  void Clear() { entries_.clear(); }

 private:
  uint64_t next_number_ = 1;
  absl::btree_map<Key, T> entries_;
};

}  // namespace mayfly::client
