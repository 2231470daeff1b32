// A TimerWheel returns due items in bounded batches, without scanning.
//
// Deadlines round up to the next tick: an item is returned up to one tick late and never early.
// Schedule and Cancel are O(1). Advance costs one step per returned item, per occupied slot and per
// 64 empty slots that it passes, each slot at most once however long the jump. There is one ring of
// slots (scheme 4 of Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", 1987). Deadlines
// beyond the horizon are rejected, so every item in a slot is due with its tick.
//
//   horizon   tick     slots   bytes per item   bytes of the ring
//   819 s     100 ms   8192    20               66 KiB
//
// Holds ids only, which have a meaning only for the caller; an id may be scheduled more than once.
// Times are milliseconds since any epoch. Owns no thread and reads no clock, so a test can move
// time by hand. Memory is allocated for 512 items at a time, is never moved, and corresponds to the
// maximum number of items since the wheel was last empty. Not thread-safe.
//
//   TimerWheel wheel({.start_ms = now.steady_ms});
//   std::optional<TimerWheel::Handle> lapse = wheel.Schedule(now.steady_ms + lease_ms, claim);
//   ...
//   wheel.Advance(now.steady_ms, /*limit=*/256, &lapsed);
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace mayfly {

class TimerWheel {
 public:
  struct Options {
    int64_t start_ms = 0;  // the present; ticks are counted from here
    uint32_t tick_ms = 100;
    uint32_t slot_count = 8192;  // a power of two, at least 64; the horizon is below 2^32 ms
  };

  // Identifies one scheduled item until it is returned or cancelled. After that it is stale: the
  // serial number distinguishes it from a later item in the same place, for the next 2^32 calls of
  // Schedule. A default-constructed one identifies nothing.
  struct Handle {
    uint32_t place = 0;
    uint32_t serial = 0;
  };

  explicit TimerWheel(const Options& options);

  // Schedules `id` to be returned by the first Advance at or after `deadline_ms`, rounded up to a
  // tick. A past deadline is due at the next Advance. Returns nullopt if the deadline is beyond
  // horizon_ms(): schedule it later. O(1).
  [[nodiscard]] std::optional<Handle> Schedule(int64_t deadline_ms, uint64_t id);

  // Removes the item. Returns false if it was already returned or cancelled. O(1).
  bool Cancel(Handle handle);

  // Moves the current time to `now_ms` (never back) and appends at most `limit` due ids to `out`,
  // in the order of their ticks, and within a tick in the order scheduled. An item that was late
  // when scheduled counts as due at the latest Advance before that. Returns the number of ids;
  // fewer than `limit` means that no more are due. The remaining ones are returned first next time,
  // and can still be cancelled.
  size_t Advance(int64_t now_ms, size_t limit, std::vector<uint64_t>* out);

  // The latest deadline that Schedule accepts now.
  int64_t horizon_ms() const;

  // The number of scheduled items, including due ones.
  size_t size() const { return size_; }

  // The memory that the wheel has allocated.
  size_t memory_bytes() const;

 private:
  // Every list is circular through its head, a Links in heads_. So an item can leave its list
  // without knowing which list that is, and a whole slot joins the due list in one step. A position
  // below heads_.size() is a head; any other is the item of that number minus heads_.size().
  struct Links {
    uint32_t next;
    uint32_t previous;
  };
  struct Item {
    Links links;
    uint32_t serial;  // 0 while free; then links.next is the next free position
    uint32_t id_high;
    uint32_t id_low;
  };
  static_assert(sizeof(Item) == 20, "the id is split so that no padding is added");
  static constexpr uint32_t kBlockItems = 512;
  using Block = std::array<Item, kBlockItems>;

  Item& ItemAt(uint32_t position);
  Links& LinksAt(uint32_t position);
  void Append(uint32_t head, uint32_t position);
  void Unlink(uint32_t position);
  void MoveSlotToDue(uint32_t slot);
  void MarkOccupied(uint32_t slot, bool occupied);
  void CollectUntil(int64_t tick);
  uint32_t TakePosition();
  void GiveBack(uint32_t position);

  int64_t start_ms_;
  uint32_t tick_ms_;
  int64_t now_ms_;
  int64_t tick_ = 0;       // ticks up to this one are in the due list
  int64_t tick_start_ms_;  // when that tick was
  uint32_t slot_mask_;
  std::vector<Links> heads_;        // one for each slot, then that of the due list
  std::vector<uint64_t> occupied_;  // one bit for each slot
  std::vector<std::unique_ptr<Block>> blocks_;
  uint32_t free_;            // first of the free positions, or 0, a head's
  uint32_t used_count_ = 0;  // items of blocks_ that were ever in use
  uint32_t last_serial_ = 0;
  size_t size_ = 0;
};

}  // namespace mayfly
