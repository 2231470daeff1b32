#include "keys/slot_allocator.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace mayfly {
namespace {

constexpr uint32_t kBitsPerWord = 64;

}  // namespace

SlotAllocator::SlotAllocator() { heads_.fill(kNoPage); }

void SlotAllocator::Grow(uint32_t slot_count) {
  Check(slot_count % kSlotsPerPage == 0, "the slot file grows by whole pages");
  const auto first = static_cast<uint32_t>(pages_.size());
  pages_.resize(first + slot_count / kSlotsPerPage);
  free_in_page_.resize(pages_.size(), kSlotsPerPage);
  free_ += slot_count;
  roomy_ += slot_count;
  // Backwards, so that the lowest page is the first of its list.
  for (auto page = static_cast<uint32_t>(pages_.size()); page-- > first;) Link(page);
}

bool SlotAllocator::HasRoom(size_t count) const {
  const bool filling = cursor_ != kNoPage && free_in_page_[cursor_] < kRoomyMin;
  return count <= roomy_ + (filling ? free_in_page_[cursor_] : 0);
}

void SlotAllocator::Take(size_t count, std::vector<uint32_t>* slots) {
  Check(count <= free_, "no more slots are taken than are free");
  while (count > 0) {
    if (cursor_ == kNoPage || free_in_page_[cursor_] == 0) cursor_ = PickPage();
    const uint32_t taken = std::min<uint32_t>(
        static_cast<uint32_t>(std::min<size_t>(count, kSlotsPerPage)), free_in_page_[cursor_]);
    uint32_t left = taken;
    for (uint32_t word = 0; left > 0; ++word) {
      uint64_t& bits = pages_[cursor_].taken[word];
      for (; left > 0 && bits != ~uint64_t{0}; --left) {
        const auto bit = static_cast<uint32_t>(std::countr_one(bits));
        bits |= uint64_t{1} << bit;
        slots->push_back(cursor_ * kSlotsPerPage + word * kBitsPerWord + bit);
      }
    }
    SetFreeIn(cursor_, free_in_page_[cursor_] - taken);
    count -= taken;
  }
}

void SlotAllocator::TakeOne(uint32_t slot) {
  Check(!IsTaken(slot), "a slot is taken once");
  const uint32_t page = slot / kSlotsPerPage;
  pages_[page].taken[slot % kSlotsPerPage / kBitsPerWord] |= uint64_t{1} << slot % kBitsPerWord;
  SetFreeIn(page, free_in_page_[page] - 1u);
}

void SlotAllocator::Free(uint32_t slot) {
  Check(IsTaken(slot), "a slot is freed once");
  const uint32_t page = slot / kSlotsPerPage;
  pages_[page].taken[slot % kSlotsPerPage / kBitsPerWord] &= ~(uint64_t{1} << slot % kBitsPerWord);
  SetFreeIn(page, free_in_page_[page] + 1u);
}

bool SlotAllocator::IsTaken(uint32_t slot) const {
  Check(slot < capacity(), "the slot is within the file");
  const Page& page = pages_[slot / kSlotsPerPage];
  return (page.taken[slot % kSlotsPerPage / kBitsPerWord] >> slot % kBitsPerWord & 1) != 0;
}

void SlotAllocator::Link(uint32_t page) {
  uint32_t& head = heads_[free_in_page_[page]];
  pages_[page].previous = kNoPage;
  pages_[page].next = head;
  if (head != kNoPage) pages_[head].previous = page;
  head = page;
}

void SlotAllocator::Unlink(uint32_t page) {
  const Page& links = pages_[page];
  if (links.previous == kNoPage) {
    heads_[free_in_page_[page]] = links.next;
  } else {
    pages_[links.previous].next = links.next;
  }
  if (links.next != kNoPage) pages_[links.next].previous = links.previous;
}

uint32_t SlotAllocator::PickPage() const {
  const uint32_t neighbour = cursor_ == kNoPage ? 0 : cursor_ + 1;
  if (neighbour < pages_.size() && free_in_page_[neighbour] == kSlotsPerPage) return neighbour;
  uint32_t free_slots = kSlotsPerPage;
  while (heads_[free_slots] == kNoPage) --free_slots;
  return heads_[free_slots];
}

void SlotAllocator::SetFreeIn(uint32_t page, uint32_t count) {
  const uint32_t before = free_in_page_[page];
  Unlink(page);
  free_in_page_[page] = static_cast<uint8_t>(count);
  Link(page);
  free_ += count - before;
  if (before >= kRoomyMin) roomy_ -= before;
  if (count >= kRoomyMin) roomy_ += count;
}

}  // namespace mayfly
