// The bytes of every row of local storage. All integers are big-endian, all times milliseconds
// unless named otherwise.
//
//   family      key                                              value
//   default     "id_window"                                      window 8, narrower 8, floor 8
//   calls       id 16, tenant 4, kind 1                          header 64, ciphertext
//   segments    id 16, tenant 4, slot 4, generation 8, number 4  file 12, offset 8, size 4,
//                                                                CRC-32C 4; or nothing
//   segment     file: due hour 4, boot 4, number 4               synced bytes 8, flags 1
//   files
//   deadlines   due second 8, id 16, tenant 4, kind 1            slot 4, generation 8, size 8,
//                                                                stored 8
//   tombstones  id 16, tenant 4                                  58 bytes, see below
//               id 16, tenant 4, generation 8                    slot 4, generation 8
//   tenants     number 4                                         dead before 8, max ttl 8, name
//   usage       shard 4, tenant 4                                calls 8, bytes 8
//   uploads     tenant 4, upload id 16                           kind 1, call id 16, header 64,
//                                                                ciphertext of the metadata
//
//   header     version 2, hour key 3, slot 4, generation 8, attempt 4, segment count 4, size 8,
//              stored 8, deadline 8, fingerprint 16
//   tombstone  version 1, reason 1, ended 8, forget 8, token hash 16, input slot 4 and
//              generation 8, output slot 4 and generation 8
//
// The second kind of row among tombstones names a slot whose row leaves without a tombstone that
// names it: a replaced output, an input that expires before its output, an upload.
//
// Ids lead, so keys are ordered by time. Names and ciphertext stay out of keys, since RocksDB
// prints keys into its manifest.
//
// A segment without content is one whose data a crash took before it was synced: its payload was
// never stored.
//
// A Decode of bytes that no Encode made gives nullopt.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "call/state.h"
#include "retention/due.h"
#include "storage/local/segment_extent.h"
#include "storage/rows.h"
#include "storage/segments.h"

namespace mayfly {

inline constexpr size_t kCallKeySize = 21;
inline constexpr size_t kSegmentKeySize = 36;
inline constexpr size_t kSegmentValueSize = 28;
inline constexpr size_t kDueKeySize = 29;
inline constexpr size_t kTombstoneKeySize = 20;
inline constexpr size_t kRowHeaderSize = 64;

using CallRowKey = std::array<char, kCallKeySize>;
using SegmentRowKey = std::array<char, kSegmentKeySize>;
using SegmentRowValue = std::array<char, kSegmentValueSize>;
using DueRowKey = std::array<char, kDueKeySize>;
using TombstoneRowKey = std::array<char, kTombstoneKeySize>;
using RowHeader = std::array<char, kRowHeaderSize>;

template <size_t kSize>
absl::string_view AsText(const std::array<char, kSize>& bytes) {
  return absl::string_view(bytes.data(), bytes.size());
}

CallRowKey EncodeCallKey(const CallKey& key, PayloadKind kind);
std::optional<std::pair<CallKey, PayloadKind>> DecodeCallKey(absl::string_view key);
RowHeader EncodeRowHeader(const StoredPayload& payload);
// Reads the header that `row` begins with.
std::optional<StoredPayload> DecodeRowHeader(absl::string_view row);

SegmentRowKey EncodeSegmentKey(const CallKey& key, SlotRef slot, uint32_t number);
// The payload that a segment belongs to, and the segment's number; count is left at 0.
std::optional<std::pair<SegmentsRef, uint32_t>> DecodeSegmentKey(absl::string_view key);
SegmentRowValue EncodeSegmentExtent(const SegmentExtent& extent);
std::optional<SegmentExtent> DecodeSegmentExtent(absl::string_view value);

// The record of a segment file.
struct SegmentFileRow {
  uint64_t synced_bytes = 0;  // what lies below is on the disk
  // The file is lost, and the operator has accepted it.
  bool is_given_up = false;

  friend bool operator==(const SegmentFileRow&, const SegmentFileRow&) = default;
};
std::string EncodeSegmentFileKey(const SegmentFileId& id);
std::string EncodeSegmentFile(const SegmentFileRow& row);
std::optional<std::pair<SegmentFileId, SegmentFileRow>> DecodeSegmentFile(absl::string_view key,
                                                                          absl::string_view value);

inline constexpr int64_t kDueSecondMax = INT64_MAX - 1;
// Orders before every row due in that second; from 0 to kDueSecondMax + 1.
std::string EncodeSecond(int64_t second);
DueRowKey EncodeDueKey(const DuePayload& due);
std::string EncodeDueValue(const DuePayload& due);
std::optional<DuePayload> DecodeDue(absl::string_view key, absl::string_view value);

TombstoneRowKey EncodeTombstoneKey(const CallKey& key);
std::string EncodeTombstone(const Tombstone& tombstone);
std::optional<Tombstone> DecodeTombstone(absl::string_view value);

// A slot to be erased that no tombstone names.
std::string EncodeErasureKey(const CallKey& key, SlotRef slot);
std::string EncodeErasure(SlotRef slot);
// The slots that a row of tombstones names; generation 0 is none.
using NamedSlots = std::array<SlotRef, 2>;
std::optional<NamedSlots> DecodeNamedSlots(absl::string_view key, absl::string_view value);

std::string EncodeTenantKey(TenantNumber number);
std::string EncodeTenant(absl::string_view name, const TenantRecord& record);
std::optional<std::pair<std::string, TenantRecord>> DecodeTenant(absl::string_view key,
                                                                 absl::string_view value);

std::string EncodeUsageKey(uint32_t shard, TenantNumber tenant);
std::string EncodeUsage(const TenantUsage& usage);
std::optional<std::pair<uint32_t, TenantUsage>> DecodeUsage(absl::string_view key,
                                                            absl::string_view value);

std::string EncodeIdWindow(const IdWindowRecord& record);
std::optional<IdWindowRecord> DecodeIdWindow(absl::string_view value);

std::string EncodeUploadKey(TenantNumber tenant, const UploadId& id);
std::string EncodeUpload(const StoredUpload& upload);
std::optional<StoredUpload> DecodeUpload(absl::string_view key, absl::string_view value);

}  // namespace mayfly
