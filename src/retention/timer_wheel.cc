#include "retention/timer_wheel.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/check.h"

namespace mayfly {
namespace {

constexpr uint32_t kNoPosition = 0;
constexpr int64_t kWordBits = 64;

}  // namespace

TimerWheel::TimerWheel(const Options& options)
    : start_ms_(options.start_ms),
      tick_ms_(options.tick_ms),
      now_ms_(options.start_ms),
      tick_start_ms_(options.start_ms),
      slot_mask_(options.slot_count - 1),
      heads_(options.slot_count + 1),
      occupied_(options.slot_count / kWordBits),
      free_(kNoPosition) {
  Check(tick_ms_ > 0, "a tick lasts at least a millisecond");
  Check(std::has_single_bit(options.slot_count) && options.slot_count >= kWordBits,
        "slot_count is a power of two and at least 64");
  Check(uint64_t{options.slot_count} * tick_ms_ <= std::numeric_limits<uint32_t>::max(),
        "the horizon is below 2^32 ms");
  for (uint32_t head = 0; head < heads_.size(); ++head) heads_[head] = {head, head};
}

std::optional<TimerWheel::Handle> TimerWheel::Schedule(int64_t deadline_ms, uint64_t id) {
  if (deadline_ms > horizon_ms()) return std::nullopt;
  const uint32_t position = TakePosition();
  if (++last_serial_ == 0) ++last_serial_;
  Item& item = ItemAt(position);
  item.serial = last_serial_;
  item.id_high = static_cast<uint32_t>(id >> 32);
  item.id_low = static_cast<uint32_t>(id);
  if (deadline_ms <= now_ms_) {
    Append(slot_mask_ + 1, position);
  } else {
    // Use 32 bits, whose division is fastest: the horizon fits.
    const uint32_t ahead_ms = static_cast<uint32_t>(deadline_ms - tick_start_ms_);
    const uint32_t ticks_ahead = (ahead_ms - 1) / tick_ms_ + 1;
    const uint32_t slot = (static_cast<uint32_t>(tick_) + ticks_ahead) & slot_mask_;
    Append(slot, position);
    MarkOccupied(slot, true);
  }
  ++size_;
  return Handle{.place = position, .serial = last_serial_};
}

bool TimerWheel::Cancel(Handle handle) {
  if (handle.place < heads_.size() || handle.place - heads_.size() >= used_count_) return false;
  if (handle.serial == 0 || ItemAt(handle.place).serial != handle.serial) return false;
  Unlink(handle.place);
  GiveBack(handle.place);
  return true;
}

size_t TimerWheel::Advance(int64_t now_ms, size_t limit, std::vector<uint64_t>* out) {
  if (now_ms > now_ms_) {
    now_ms_ = now_ms;
    CollectUntil((now_ms - start_ms_) / tick_ms_);
  }
  const uint32_t due = slot_mask_ + 1;
  size_t count = 0;
  while (count < limit && heads_[due].next != due) {
    const uint32_t position = heads_[due].next;
    const Item& item = ItemAt(position);
    out->push_back(uint64_t{item.id_high} << 32 | item.id_low);
    Unlink(position);
    GiveBack(position);
    ++count;
  }
  return count;
}

int64_t TimerWheel::horizon_ms() const {
  // The slot of the current tick is empty, so it serves the tick one revolution ahead.
  return tick_start_ms_ + (int64_t{slot_mask_} + 1) * tick_ms_;
}

size_t TimerWheel::memory_bytes() const {
  return heads_.capacity() * sizeof(Links) + occupied_.capacity() * sizeof(uint64_t) +
         blocks_.capacity() * sizeof(blocks_[0]) + blocks_.size() * sizeof(Block);
}

TimerWheel::Item& TimerWheel::ItemAt(uint32_t position) {
  const uint32_t number = position - static_cast<uint32_t>(heads_.size());
  return (*blocks_[number / kBlockItems])[number % kBlockItems];
}

TimerWheel::Links& TimerWheel::LinksAt(uint32_t position) {
  return position < heads_.size() ? heads_[position] : ItemAt(position).links;
}

void TimerWheel::Append(uint32_t head, uint32_t position) {
  const uint32_t last = heads_[head].previous;
  LinksAt(position) = {.next = head, .previous = last};
  LinksAt(last).next = position;
  heads_[head].previous = position;
}

void TimerWheel::Unlink(uint32_t position) {
  const Links links = LinksAt(position);
  LinksAt(links.previous).next = links.next;
  LinksAt(links.next).previous = links.previous;
  // Both neighbours are the head: the list is now empty.
  if (links.next == links.previous && links.next <= slot_mask_) MarkOccupied(links.next, false);
}

void TimerWheel::MoveSlotToDue(uint32_t slot) {
  const uint32_t due = slot_mask_ + 1;
  const Links moved = heads_[slot];
  const uint32_t last_due = heads_[due].previous;
  LinksAt(last_due).next = moved.next;
  LinksAt(moved.next).previous = last_due;
  LinksAt(moved.previous).next = due;
  heads_[due].previous = moved.previous;
  heads_[slot] = {slot, slot};
  MarkOccupied(slot, false);
}

void TimerWheel::MarkOccupied(uint32_t slot, bool occupied) {
  const uint64_t bit = uint64_t{1} << slot % kWordBits;
  uint64_t& word = occupied_[slot / kWordBits];
  word = occupied ? word | bit : word & ~bit;
}

void TimerWheel::CollectUntil(int64_t tick) {
  const int64_t last = std::min<int64_t>(tick, tick_ + slot_mask_ + 1);
  int64_t next = tick_ + 1;
  while (next <= last) {
    const uint32_t slot = static_cast<uint32_t>(next) & slot_mask_;
    const uint64_t rest_of_word = occupied_[slot / kWordBits] >> slot % kWordBits;
    if (rest_of_word == 0) {
      next += kWordBits - slot % kWordBits;
      continue;
    }
    const int empty_count = std::countr_zero(rest_of_word);
    next += empty_count;
    if (next > last) break;
    MoveSlotToDue(slot + static_cast<uint32_t>(empty_count));
    ++next;
  }
  tick_ = tick;
  tick_start_ms_ = start_ms_ + tick * tick_ms_;
}

uint32_t TimerWheel::TakePosition() {
  if (free_ != kNoPosition) {
    const uint32_t position = free_;
    free_ = ItemAt(position).links.next;
    return position;
  }
  Check(used_count_ < std::numeric_limits<uint32_t>::max() - heads_.size(),
        "a wheel holds fewer than 2^32 items");
  if (used_count_ == blocks_.size() * kBlockItems) {
    blocks_.push_back(std::make_unique_for_overwrite<Block>());
  }
  return static_cast<uint32_t>(heads_.size()) + used_count_++;
}

void TimerWheel::GiveBack(uint32_t position) {
  Item& item = ItemAt(position);
  item.serial = 0;
  item.links.next = free_;
  free_ = position;
  if (--size_ > 0) return;
  // Empty: free all but one block. Old handles stay stale, because serial numbers continue.
  free_ = kNoPosition;
  used_count_ = 0;
  if (blocks_.size() > 1) {
    blocks_.resize(1);
    blocks_.shrink_to_fit();
  }
}

}  // namespace mayfly
