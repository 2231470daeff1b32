// Root keys, hours and secrets for the keyring tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "keys/keyring.h"

namespace mayfly {

constexpr EpochHour kHour = 490000;  // in November 2025
constexpr int64_t kNowMs = kHour * kEpochMs + 1234;
constexpr StoreId kStoreId = {1, 2, 3};

inline SecretBytes Key(uint8_t byte) { return SecretBytes(std::vector<uint8_t>(32, byte)); }

// Empty when the hour has no key.
inline std::string ExtractText(const Keyring& keyring, EpochHour hour) {
  const auto extracted = keyring.Extract(hour, AsBytes("twenty secret bytes."));
  return extracted.ok() ? std::string(AsText(extracted->ExposeBytes())) : "";
}

}  // namespace mayfly
