// Writes and reads the fields of RocksDB's keys and values, big-endian and of fixed widths.
#pragma once

#include <cstdint>
#include <cstring>

#include "absl/strings/string_view.h"

#include "base/bytes.h"
#include "base/slot_ref.h"
#include "call/state.h"
#include "storage/local/segment_extent.h"

namespace mayfly {

// Writes fields one after another into a buffer of exactly their size.
class FieldWriter {
 public:
  explicit FieldWriter(char* out) : out_(reinterpret_cast<uint8_t*>(out)) {}

  template <typename T>
  FieldWriter& Number(T value) {
    StoreBigEndian(out_, value);
    out_ += sizeof(T);
    return *this;
  }
  FieldWriter& Bytes(ByteSpan bytes) {
    std::memcpy(out_, bytes.data(), bytes.size());
    out_ += bytes.size();
    return *this;
  }
  FieldWriter& Key(const CallKey& key) {
    return Bytes(key.id.bytes()).Number(static_cast<uint32_t>(key.tenant));
  }
  FieldWriter& Slot(SlotRef slot) { return Number(slot.slot).Number(slot.generation); }
  FieldWriter& File(const SegmentFileId& id) {
    return Number(id.due_hour).Number(id.boot).Number(id.number);
  }

 private:
  uint8_t* out_;
};

// Reads fields one after another; the caller has checked the size of the whole.
class FieldReader {
 public:
  explicit FieldReader(absl::string_view in) : in_(reinterpret_cast<const uint8_t*>(in.data())) {}

  template <typename T>
  T Read() {
    const T value = LoadBigEndian<T>(in_);
    in_ += sizeof(T);
    return value;
  }
  // An array of bytes, or a type made of one.
  template <typename Array>
  Array ReadArray() {
    Array bytes;
    std::memcpy(bytes.data(), in_, bytes.size());
    in_ += bytes.size();
    return bytes;
  }
  CallKey ReadKey() {
    CallKey key;
    key.id = CallId::FromBytes(ByteSpan(in_, CallId::kSize));
    in_ += CallId::kSize;
    key.tenant = TenantNumber{Read<uint32_t>()};
    return key;
  }
  SlotRef ReadSlot() {
    SlotRef slot;
    slot.slot = Read<uint32_t>();
    slot.generation = Read<uint64_t>();
    return slot;
  }
  SegmentFileId ReadFile() {
    SegmentFileId id;
    id.due_hour = Read<uint32_t>();
    id.boot = Read<uint32_t>();
    id.number = Read<uint32_t>();
    return id;
  }

 private:
  const uint8_t* in_;
};

}  // namespace mayfly
