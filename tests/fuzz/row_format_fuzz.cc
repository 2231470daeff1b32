// Any bytes decode to a row that encodes to the same bytes, or are rejected.

#include "base/check.h"
#include "storage/local/row_format.h"

namespace mayfly {
namespace {

void DecodeValues(absl::string_view bytes) {
  if (const auto payload = DecodeRowHeader(bytes)) {
    Check(AsText(EncodeRowHeader(*payload)) == bytes.substr(0, kRowHeaderSize), "same header");
  }
  if (const auto tombstone = DecodeTombstone(bytes)) {
    Check(EncodeTombstone(*tombstone) == bytes, "same tombstone");
  }
  if (const auto extent = DecodeSegmentExtent(bytes)) {
    Check(AsText(EncodeSegmentExtent(*extent)) == bytes, "same extent");
  }
}

// A key of fixed size, and behind it the value.
void DecodePairs(absl::string_view bytes) {
  if (bytes.size() >= kDueKeySize) {
    const absl::string_view key = bytes.substr(0, kDueKeySize);
    const absl::string_view value = bytes.substr(kDueKeySize);
    if (const auto due = DecodeDue(key, value)) {
      Check(AsText(EncodeDueKey(*due)) == key && EncodeDueValue(*due) == value, "same due row");
    }
  }
  constexpr size_t kTenantKeySize = 4;
  if (bytes.size() >= kTenantKeySize) {
    const absl::string_view key = bytes.substr(0, kTenantKeySize);
    const absl::string_view value = bytes.substr(kTenantKeySize);
    if (const auto tenant = DecodeTenant(key, value)) {
      Check(EncodeTenantKey(tenant->second.number) == key &&
                EncodeTenant(tenant->first, tenant->second) == value,
            "same tenant");
    }
  }
  constexpr size_t kSegmentFileKeySize = 12;
  if (bytes.size() >= kSegmentFileKeySize) {
    const absl::string_view key = bytes.substr(0, kSegmentFileKeySize);
    const absl::string_view value = bytes.substr(kSegmentFileKeySize);
    if (const auto file = DecodeSegmentFile(key, value)) {
      Check(EncodeSegmentFileKey(file->first) == key && EncodeSegmentFile(file->second) == value,
            "same segment file");
    }
  }
  constexpr size_t kUsageKeySize = 8;
  if (bytes.size() >= kUsageKeySize) {
    const absl::string_view key = bytes.substr(0, kUsageKeySize);
    const absl::string_view value = bytes.substr(kUsageKeySize);
    if (const auto usage = DecodeUsage(key, value)) {
      Check(EncodeUsageKey(usage->first, usage->second.tenant) == key &&
                EncodeUsage(usage->second) == value,
            "same usage");
    }
  }
}

}  // namespace
}  // namespace mayfly

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  mayfly::DecodeValues(bytes);
  mayfly::DecodePairs(bytes);
  mayfly::DecodeSegmentKey(bytes);
  return 0;
}
