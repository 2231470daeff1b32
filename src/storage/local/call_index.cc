#include "storage/local/call_index.h"

#include "absl/hash/hash.h"

namespace mayfly {

CallIndex::CallIndex(size_t calls_max) : part_calls_max_(calls_max / kPartCount) {}

std::optional<CallRows> CallIndex::Find(const CallKey& key) {
  Part& part = PartOf(key);
  MutexLock lock(&part.mutex);
  const auto place = part.places.find(key);
  if (place == part.places.end()) return std::nullopt;
  Entry& entry = part.entries[place->second];
  entry.used = true;
  return entry.rows;
}

void CallIndex::Store(const CallKey& key, const CallRows& rows) {
  if (part_calls_max_ == 0) return;
  Part& part = PartOf(key);
  MutexLock lock(&part.mutex);
  if (const auto known = part.places.find(key); known != part.places.end()) {
    part.entries[known->second].rows = rows;
    return;
  }
  const uint32_t place = TakePlace(&part);
  part.entries[place] = {.key = key, .rows = rows, .occupied = true};
  part.places.emplace(key, place);
}

void CallIndex::Remove(const CallKey& key) {
  Part& part = PartOf(key);
  MutexLock lock(&part.mutex);
  const auto place = part.places.find(key);
  if (place == part.places.end()) return;
  part.entries[place->second].occupied = false;
  part.free.push_back(place->second);
  part.places.erase(place);
}

size_t CallIndex::size() {
  size_t size = 0;
  for (Part& part : parts_) {
    MutexLock lock(&part.mutex);
    size += part.places.size();
  }
  return size;
}

CallIndex::Part& CallIndex::PartOf(const CallKey& key) {
  // Not the low bits: the map within the part uses those of the same hash.
  return parts_[absl::Hash<CallKey>()(key) >> 60 & (kPartCount - 1)];
}

uint32_t CallIndex::TakePlace(Part* part) {
  if (!part->free.empty()) {
    const uint32_t place = part->free.back();
    part->free.pop_back();
    return place;
  }
  if (part->entries.size() < part_calls_max_) {
    part->entries.emplace_back();
    return static_cast<uint32_t>(part->entries.size() - 1);
  }
  // Every entry is occupied here. Ends within two rounds: the first clears all `used` marks.
  while (true) {
    part->hand = (part->hand + 1) % part->entries.size();
    Entry& entry = part->entries[part->hand];
    if (!entry.used) {
      part->places.erase(entry.key);
      return static_cast<uint32_t>(part->hand);
    }
    entry.used = false;
  }
}

}  // namespace mayfly
