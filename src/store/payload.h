// A payload in the clear, on its way between the wire and the cipher.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace mayfly {

// The values of mayfly.v1.Outcome; inputs have kNone.
enum class Outcome : uint8_t {
  kNone = 0,
  kSuccess = 1,
  kFailure = 2,
  kTimeout = 3,
  kCancelled = 4
};

// What is known of a payload beside its bytes; sealed together with them.
struct PayloadMetadata {
  std::string content_type;
  std::string encryption_key_id;
  std::vector<std::pair<std::string, std::string>> labels;  // sorted by name
  uint32_t crc32c = 0;                                      // of the data
  Outcome outcome = Outcome::kNone;

  friend bool operator==(const PayloadMetadata&, const PayloadMetadata&) = default;
};

// Its texts.
inline uint64_t SizeOf(const PayloadMetadata& metadata) {
  uint64_t bytes = metadata.content_type.size() + metadata.encryption_key_id.size();
  for (const auto& [name, value] : metadata.labels) bytes += name.size() + value.size();
  return bytes;
}

// To be stored. `data` is the caller's and must outlive the call it is given to, not longer.
struct NewPayload {
  absl::string_view data;
  PayloadMetadata metadata;
};

struct Payload {
  std::string data;
  PayloadMetadata metadata;
};

}  // namespace mayfly
