// Root keys, hours and secrets for the keyring tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "keys/keyring.h"

namespace mayfly {

constexpr Hour kHour = 490000;  // in November 2025
constexpr int64_t kNowMs = kHour * kHourMs + 1234;
constexpr StoreId kStoreId = {1, 2, 3};

inline SecretBytes Key(uint8_t byte) { return SecretBytes(std::vector<uint8_t>(32, byte)); }

constexpr int64_t SecondIn(Hour hour, uint32_t second) { return hour * kSecondsPerHour + second; }

// Empty when its second is closed.
inline std::string ExtractText(const Keyring& keyring, const SecondRef& second) {
  const auto extracted = keyring.Extract(second, AsBytes("twenty secret bytes."));
  return extracted.ok() ? std::string(AsText(extracted->ExposeBytes())) : "";
}

// What a payload that is due at that second would be sealed under; hour_key is 0 when there is no key.
inline SecondRef Seal(Keyring* keyring, int64_t due_s) {
  const auto number = keyring->NumberFor(due_s);
  return {.hour_key = number.ok() ? *number : 0, .due_s = due_s};
}

}  // namespace mayfly
