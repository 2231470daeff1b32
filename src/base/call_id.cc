#include "base/call_id.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "base/check.h"

namespace mayfly {
namespace {

constexpr size_t kTextSize = 36;

bool IsDash(size_t position) {
  return position == 8 || position == 13 || position == 18 || position == 23;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = absl::ascii_tolower(c);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

absl::Status Malformed(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("call_id ", what));
}

}  // namespace

absl::StatusOr<CallId> CallId::Parse(absl::string_view text) {
  if (text.size() != kTextSize) {
    return Malformed(absl::StrCat("has ", text.size(), " characters, a UUID has ", kTextSize));
  }
  CallId id;
  size_t nibble = 0;
  for (size_t i = 0; i < kTextSize; ++i) {
    if (IsDash(i)) {
      if (text[i] != '-') return Malformed(absl::StrCat("has no dash at position ", i));
      continue;
    }
    const int digit = HexDigit(text[i]);
    if (digit < 0) return Malformed(absl::StrCat("has no hexadecimal digit at position ", i));
    id.bytes_[nibble / 2] = static_cast<uint8_t>(id.bytes_[nibble / 2] << 4 | digit);
    ++nibble;
  }
  const int version = id.bytes_[6] >> 4;
  if (version != 7) return Malformed(absl::StrCat("has UUID version ", version, ", must be 7"));
  if (id.bytes_[8] >> 6 != 2) return Malformed("does not have the variant of RFC 9562");
  return id;
}

CallId CallId::FromBytes(ByteSpan bytes) {
  Check(bytes.size() == kSize, "a call id has 16 bytes");
  CallId id;
  std::copy(bytes.begin(), bytes.end(), id.bytes_.begin());
  return id;
}

CallId CallId::Mint(absl::Time now, ByteSpan random) {
  Check(random.size() == 10, "minting takes ten random bytes");
  CallId id;
  uint8_t time[8];
  StoreBigEndian<uint64_t>(time, static_cast<uint64_t>(absl::ToUnixMillis(now)));
  std::copy(time + 2, time + 8, id.bytes_.begin());
  std::copy(random.begin(), random.end(), id.bytes_.begin() + 6);
  id.bytes_[6] = static_cast<uint8_t>((id.bytes_[6] & 0x0f) | 0x70);
  id.bytes_[8] = static_cast<uint8_t>((id.bytes_[8] & 0x3f) | 0x80);
  return id;
}

std::string CallId::ToString() const {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(kTextSize);
  for (size_t i = 0; i < kSize; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text.push_back('-');
    text.push_back(kDigits[bytes_[i] >> 4]);
    text.push_back(kDigits[bytes_[i] & 15]);
  }
  return text;
}

int64_t CallId::time_ms() const {
  return static_cast<int64_t>(LoadBigEndian<uint64_t>(bytes_.data()) >> 16);
}

absl::Time CallId::time() const { return absl::FromUnixMillis(time_ms()); }

}  // namespace mayfly
