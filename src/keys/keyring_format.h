// The bytes of the keyring file. All integers are big-endian.
//
// The file has 256 KiB and never changes its size. It has two banks, of which one counts, and a bank has
// two copies of the same:
//
//   bank 0            bank 1            copy in a bank    sector in a copy
//   from 0            from 128 KiB      a: from 0         header: 0
//   128 KiB           128 KiB           b: from 64 KiB    cell n: 8 + n, for n from 0 to 63
//
// A sector has 512 bytes; what is not named is zero.
//
//   header  offset  size  field
//           0       8     magic "MAYFKEYS"
//           8       4     format version, 2
//           12      8     rotation: of two banks with a valid header the one with the higher counts
//           20      16    root check: HKDF-Expand(root key, "mayfly keyring root check v1")
//           36      16    store id
//           52      4     CRC-32C of the bytes before
//
//   cell    0       4     number of the hour key; 0: the cell has held none
//           4       8     hour (signed)
//           12      4     first open second of the hour, 0 to 3600
//           16      104   the chain key of that second, sealed: salt (24), commitment (32),
//                         ciphertext (32), tag (16); zeros when the first open second is 3600
//           120     4     CRC-32C of the bytes before
//
// The key of number n is in cell n mod 64. Of its two copies the one with the higher number, and then
// with the higher first open second, is the newer one.
//
// A chain key is sealed by crypto/chunked_aead.h, c2sp.org/chunked-encryption@v1, under
// HKDF-Expand(root key, "mayfly keyring wrap v1"), in the context "mayfly hour key v1" || store id ||
// number || hour || first open second. The root check tells another root key from a damaged file, and
// tells nothing of the root key.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/bytes.h"
#include "base/secret_bytes.h"
#include "keys/store_id.h"

namespace mayfly {

// Whole hours since the Unix epoch.
using Hour = int64_t;
// Given once, store-wide and for ever; 0 is none.
using HourKeyNumber = uint32_t;

// What the header of a row has room for: an hour each for 1,900 years.
inline constexpr HourKeyNumber kHourKeyNumberMax = (HourKeyNumber{1} << 24) - 1;
inline constexpr size_t kHourKeySize = 32;
inline constexpr size_t kSealedHourKeySize = 104;
inline constexpr uint32_t kSecondsPerHour = 3600;

inline constexpr size_t kKeyringCells = 64;
inline constexpr size_t kKeyringSectorBytes = 512;
inline constexpr size_t kKeyringBanks = 2;
inline constexpr size_t kKeyringCopies = 2;
inline constexpr uint64_t kKeyringCopyBytes = 64 << 10;
inline constexpr uint64_t kKeyringBankBytes = kKeyringCopies * kKeyringCopyBytes;
inline constexpr uint64_t kKeyringBytes = kKeyringBanks * kKeyringBankBytes;

struct KeyringPlace {
  size_t bank = 0;
  size_t copy = 0;
};
constexpr uint64_t OffsetOfKeyringHeader(KeyringPlace place) {
  return place.bank * kKeyringBankBytes + place.copy * kKeyringCopyBytes;
}
constexpr uint64_t OffsetOfKeyringCell(KeyringPlace place, size_t cell) {
  return OffsetOfKeyringHeader(place) + (8 + cell) * kKeyringSectorBytes;
}
constexpr size_t CellOf(HourKeyNumber number) { return number % kKeyringCells; }

using KeyringSector = std::array<uint8_t, kKeyringSectorBytes>;

struct KeyringHeader {
  uint64_t rotation = 0;
  StoreId store_id{};

  friend bool operator==(const KeyringHeader&, const KeyringHeader&) = default;
};

// What a cell says in clear, and the sealed chain key.
struct KeyringCell {
  HourKeyNumber number = 0;
  Hour hour = 0;
  uint32_t first_open = kSecondsPerHour;
  std::array<uint8_t, kSealedHourKeySize> sealed_key{};

  bool is_open() const { return first_open < kSecondsPerHour; }
  friend bool operator==(const KeyringCell&, const KeyringCell&) = default;
};
bool IsNewer(const KeyringCell& cell, const KeyringCell& than);

KeyringSector EncodeKeyringHeader(const SecretBytes& root_key, const KeyringHeader& header);
// nullopt when it is damaged or never was one.
std::optional<KeyringHeader> DecodeKeyringHeader(ByteSpan sector);
// Whether a valid header was written with this root key.
bool IsOfRootKey(const SecretBytes& root_key, ByteSpan sector);
// Whether the file begins like one of an older version.
bool IsOlderKeyring(ByteSpan sector);

KeyringSector EncodeKeyringCell(const KeyringCell& cell);
// nullopt when it is damaged, and for zeros.
std::optional<KeyringCell> DecodeKeyringCell(ByteSpan sector);

// Seals the chain key into the cell, whose other fields are set by now.
void SealHourKey(const SecretBytes& root_key, const StoreId& store_id, const SecretBytes& key,
                 KeyringCell* cell);
// DATA_LOSS when it is not that cell's key, sealed with that root key.
absl::StatusOr<SecretBytes> OpenHourKey(const SecretBytes& root_key, const StoreId& store_id,
                                        const KeyringCell& cell);

// DATA_LOSS, with what to do.
absl::Status DamagedKeyring();

}  // namespace mayfly
