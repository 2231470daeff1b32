// The bytes of the slot file. All integers are big-endian.
//
//   page    offset  size  field
//   0       0       8     magic "MAYFSLOT"
//           8       4     format version, 1
//           12      16    store id, random
//           28      4     CRC-32C of the bytes before
//   1, 2    0       8     record counter: the valid record with the higher one counts
//           8       8     boot number
//           16      8     sequence of the row store last known synced
//           24      8     synced generation: all slots of lower ones that were written are synced,
//                         and so are the rows that name them
//           32      4     capacity in slots, synced: the file never has fewer
//           36      4     CRC-32C of the bytes before
//   3 ...                 128 slots to a page, from slot 0 on
//
//   slot    0       8     generation
//           8       20    secret; zeros when erased
//           28      4     CRC-32C of generation, secret and slot number (4); complemented
//                         when erased
//
// Pages are 4 KiB; what is not named is zero. The two records are written in turns, so a torn write
// spoils the one that did not count yet. A slot of zeros was never written.
//
// A bad checksum in a slot is damage and never what a crash left: a slot is 32 bytes, aligned to
// 32, so it lies within one sector of 512 bytes, which a disk writes whole or not at all, and within
// one page, which a write to the page cache fills before it looks at the next.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/slot_ref.h"
#include "keys/store_id.h"

namespace mayfly {

inline constexpr size_t kSlotPageBytes = 4096;
inline constexpr size_t kSlotBytes = 32;
inline constexpr size_t kSlotSecretBytes = 20;
inline constexpr uint32_t kSlotsPerPage = kSlotPageBytes / kSlotBytes;
inline constexpr size_t kSlotHeaderPages = 3;
// 2^30 payloads, a file of 32 GiB.
inline constexpr uint32_t kSlotCountMax = uint32_t{1} << 30;

inline constexpr int kGenerationCounterBits = 40;
inline constexpr uint64_t kGenerationCounterMax = (uint64_t{1} << kGenerationCounterBits) - 1;
constexpr uint64_t FirstGenerationOf(uint64_t boot_number) {
  return boot_number << kGenerationCounterBits;
}
inline constexpr uint64_t kBootNumberMax = (uint64_t{1} << 24) - 1;

using SlotBytes = std::array<uint8_t, kSlotBytes>;

struct StateRecord {
  uint64_t counter = 0;
  uint64_t boot_number = 0;
  uint64_t synced_sequence = 0;
  uint64_t synced_generation = 0;
  uint32_t capacity = 0;
};

constexpr uint64_t OffsetOfSlot(uint32_t slot) {
  return kSlotHeaderPages * kSlotPageBytes + uint64_t{slot} * kSlotBytes;
}
constexpr uint64_t OffsetOfRecord(uint64_t counter) { return (1 + counter % 2) * kSlotPageBytes; }

// Page 0, and the store id in it; nothing when it is damaged or of another version.
std::string EncodeIdentity(const StoreId& store_id);
std::optional<StoreId> DecodeIdentity(ByteSpan page);

std::string EncodeRecord(const StateRecord& record);
std::optional<StateRecord> DecodeRecord(ByteSpan page);

SlotBytes EncodeLiveSlot(SlotRef ref, ByteSpan secret);
SlotBytes EncodeErasedSlot(SlotRef ref);

struct SlotContent {
  enum class Kind : uint8_t { kUnused, kLive, kErased, kDamaged };
  Kind kind = Kind::kUnused;
  uint64_t generation = 0;  // as it stands there, right or not, when damaged
};
SlotContent DecodeSlot(uint32_t slot, const SlotBytes& bytes);
// The secret within a live slot.
ByteSpan SecretIn(const SlotBytes& bytes);

}  // namespace mayfly
