// A CallId identifies one function call. It is a UUIDv7 (RFC 9562 section 5.7), whose first 48 bits
// are the Unix time in milliseconds at which it was generated.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/bytes.h"

namespace mayfly {

class CallId {
 public:
  static constexpr size_t kSize = 16;

  CallId() = default;

  // Parses the 36-character text form, in either case. INVALID_ARGUMENT if it is malformed, the
  // version is not 7, or the variant is not that of RFC 9562.
  static absl::StatusOr<CallId> Parse(absl::string_view text);

  // From sixteen bytes as stored in a key. The caller guarantees that they came from a CallId.
  static CallId FromBytes(ByteSpan bytes);

  // Generates an id for `now`; `random` is ten bytes from a cryptographic source.
  static CallId Mint(absl::Time now, ByteSpan random);

  // The 36-character lower-case text form.
  std::string ToString() const;

  absl::Time time() const;
  int64_t time_ms() const;
  ByteSpan bytes() const { return bytes_; }

  friend bool operator==(const CallId&, const CallId&) = default;
  friend auto operator<=>(const CallId&, const CallId&) = default;

  template <typename H>
  friend H AbslHashValue(H state, const CallId& id) {
    return H::combine(std::move(state), id.bytes_);
  }

 private:
  std::array<uint8_t, kSize> bytes_{};
};

}  // namespace mayfly
