#include "storage/local/row_cache.h"

#include <algorithm>
#include <utility>

namespace mayfly {
namespace {

size_t Weight(const Sealed& row, size_t min) { return std::max(row.size(), min); }

}  // namespace

RowCache::RowCache(size_t bytes_max) : part_bytes_max_(bytes_max / kPartCount) {}

void RowCache::Store(SlotRef slot, Sealed row) {
  const size_t weight = Weight(row, kRowBytesMin);
  if (weight > part_bytes_max_) return;
  Part& part = PartOf(slot);
  MutexLock lock(&part.mutex);
  const auto has_room = [&] {
    return part.bytes + weight <= part_bytes_max_ &&
           part.arrivals.size() < part_bytes_max_ / kRowBytesMin;
  };
  while (!has_room()) {
    RemoveFrom(&part, part.arrivals.front());
    part.arrivals.pop_front();
  }
  part.rows.emplace(slot.generation, std::move(row));
  part.arrivals.push_back(slot.generation);
  part.bytes += weight;
}

std::optional<Sealed> RowCache::Find(SlotRef slot) {
  Part& part = PartOf(slot);
  MutexLock lock(&part.mutex);
  const auto row = part.rows.find(slot.generation);
  if (row == part.rows.end()) return std::nullopt;
  return row->second;
}

void RowCache::Remove(SlotRef slot) {
  Part& part = PartOf(slot);
  MutexLock lock(&part.mutex);
  RemoveFrom(&part, slot.generation);
  while (!part.arrivals.empty() && !part.rows.contains(part.arrivals.front())) {
    part.arrivals.pop_front();
  }
}

void RowCache::RemoveFrom(Part* part, uint64_t generation) {
  const auto row = part->rows.find(generation);
  if (row == part->rows.end()) return;
  part->bytes -= Weight(row->second, kRowBytesMin);
  part->rows.erase(row);
}

}  // namespace mayfly
