// A sector with a correct checksum is a header or a cell of a keyring that encodes to the same bytes, or is
// neither; the cell's key does not open.

#include <algorithm>

#include "base/bytes.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "keys/keyring_format.h"

namespace mayfly {
namespace {

constexpr size_t kHeaderCheckedBytes = 52;
constexpr size_t kCellCheckedBytes = 120;

// The input, with a checksum that is right.
KeyringSector SectorOf(const uint8_t* data, size_t size, size_t checked_bytes) {
  KeyringSector sector{};
  std::copy_n(data, std::min(size, checked_bytes), sector.begin());
  StoreBigEndian(sector.data() + checked_bytes, Crc32c(ByteSpan(sector).first(checked_bytes)));
  return sector;
}

void Decode(const uint8_t* data, size_t size) {
  static const SecretBytes* const root_key = new SecretBytes(kHourKeySize);
  const KeyringSector cell_sector = SectorOf(data, size, kCellCheckedBytes);
  if (const auto cell = DecodeKeyringCell(cell_sector)) {
    Check(EncodeKeyringCell(*cell) == cell_sector, "a cell reads back as it was written");
    Check(absl::IsDataLoss(OpenHourKey(*root_key, StoreId{}, *cell).status()),
          "nobody forges a sealed key");
  }
  const KeyringSector header_sector = SectorOf(data, size, kHeaderCheckedBytes);
  if (const auto header = DecodeKeyringHeader(header_sector)) {
    const KeyringSector again = EncodeKeyringHeader(*root_key, *header);
    Check(DecodeKeyringHeader(again) == header, "a header reads back as it was written");
    Check(!IsOlderKeyring(header_sector), "a header of this version is no older one");
  }
}

}  // namespace
}  // namespace mayfly

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mayfly::Decode(data, size);
  return 0;
}
