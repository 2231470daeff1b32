// The bytes of the keyring file. All integers are big-endian.
//
//   offset      size  field
//   0           8     magic "MAYFKEYS"
//   8           4     format version, 1
//   12          16    root check: HKDF-Expand(root key, "mayfly keyring root check v1")
//   28          16    store id
//   44          4     number of keys, n, at most 1024
//   48          112n  per key, hours ascending:
//                       8    epoch hour (signed)
//                       104  the key, sealed: salt (24), commitment (32), ciphertext (32), tag (16)
//   48 + 112n   4     CRC-32C of the bytes before
//
// A key is sealed by crypto/chunked_aead.h, c2sp.org/chunked-encryption@v1, under
// HKDF-Expand(root key, "mayfly keyring wrap v1"), in the context "mayfly epoch key v1" || hour.
// The root check tells another root key from a damaged file, and tells nothing of the root key.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/secret_bytes.h"
#include "keys/store_id.h"

namespace mayfly {

// Whole hours since the Unix epoch.
using EpochHour = int64_t;

inline constexpr size_t kEpochKeySize = 32;
inline constexpr size_t kWrappedKeySize = 104;
inline constexpr size_t kEpochKeyCountMax = 1024;

// Keys as in the file, by hour.
using WrappedKeys = std::map<EpochHour, std::string>;

std::string WrapEpochKey(const SecretBytes& root_key, EpochHour hour, const SecretBytes& key);
// DATA_LOSS when this is not that hour's key wrapped by that root key.
absl::StatusOr<SecretBytes> UnwrapEpochKey(const SecretBytes& root_key, EpochHour hour,
                                           absl::string_view wrapped);

struct KeyringContent {
  StoreId store_id{};
  WrappedKeys keys;

  friend bool operator==(const KeyringContent&, const KeyringContent&) = default;
};

std::string EncodeKeyring(const SecretBytes& root_key, const KeyringContent& keyring);
// DATA_LOSS when the file is damaged, FAILED_PRECONDITION when the root key is another.
absl::StatusOr<KeyringContent> DecodeKeyring(const SecretBytes& root_key,
                                             absl::string_view content);
// The size of the largest keyring.
inline constexpr size_t kKeyringBytesMax = 48 + kEpochKeyCountMax * (8 + kWrappedKeySize) + 4;

}  // namespace mayfly
