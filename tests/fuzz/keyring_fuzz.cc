// Any file with a correct checksum is a keyring that encodes to the same bytes, or is reported as
// damaged.

#include "base/bytes.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "keys/keyring_format.h"

namespace mayfly {
namespace {

constexpr size_t kBeforeCount = 44;

// Behind a head that is right, so that what comes after it is reached.
void DecodeEntries(absl::string_view count_and_keys) {
  static const SecretBytes* const root_key = new SecretBytes(kEpochKeySize);
  static const std::string* const empty = new std::string(EncodeKeyring(*root_key, {}));
  std::string content = empty->substr(0, kBeforeCount);
  content.append(count_and_keys.data(), count_and_keys.size());
  AppendBigEndian(&content, Crc32c(AsBytes(content)));
  const auto keys = DecodeKeyring(*root_key, content);
  if (!keys.ok()) {
    Check(absl::IsDataLoss(keys.status()), "what is no keyring is damage");
    return;
  }
  const auto again = DecodeKeyring(*root_key, EncodeKeyring(*root_key, *keys));
  Check(again.ok() && *again == *keys, "a keyring reads back as it was written");
}

}  // namespace
}  // namespace mayfly

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mayfly::DecodeEntries(absl::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
