#include "keys/hour_chain.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/string_view.h"

#include "base/check.h"
#include "crypto/hkdf.h"

namespace mayfly {
namespace {

constexpr absl::string_view kLeafLabel = "mayfly second v1";
constexpr absl::string_view kNextLabel = "mayfly next second v1";

SecretBytes NextKey(const HmacKey& chain_key) {
  SecretBytes next(kHourKeySize);
  HkdfExpand(chain_key, {AsBytes(kNextLabel)}, next.ExposeMutableBytes());
  return next;
}

}  // namespace

HourChain::HourChain(SecretBytes key, uint32_t first_open)
    : first_open_(first_open),
      key_(std::move(key)),
      computed_end_(first_open),
      computed_key_(key_.ExposeBytes()) {
  Check(key_.size() == kHourKeySize, "an hour key has 32 bytes");
  Check(first_open < kSecondsPerHour, "an open hour has an open second");
}

void HourChain::CopyLeaf(uint32_t second, uint8_t saved[HmacKey::kSavedSize]) {
  Check(second >= first_open_ && second < kSecondsPerHour, "a leaf is of an open second");
  ExtendTo(second);
  memcpy(saved, LeafOf(second), HmacKey::kSavedSize);
}

void HourChain::CloseBefore(uint32_t second) {
  if (second <= first_open_) return;
  if (second >= kSecondsPerHour) {
    first_open_ = computed_end_ = kSecondsPerHour;
    key_ = SecretBytes();
    computed_key_ = SecretBytes();
    leaves_ = LockedMemory();
    return;
  }
  for (uint32_t i = first_open_; i < second; ++i) key_ = NextKey(HmacKey(key_.ExposeBytes()));
  const uint32_t wiped_end = std::min(second, computed_end_);
  if (wiped_end > first_open_) {
    WipeMemory(LeafOf(first_open_), size_t{wiped_end - first_open_} * HmacKey::kSavedSize);
  }
  first_open_ = second;
  if (computed_end_ > second) return;
  computed_end_ = second;
  computed_key_ = SecretBytes(key_.ExposeBytes());
}

void HourChain::ExtendTo(uint32_t second) {
  if (leaves_.empty()) leaves_ = LockedMemory(kTableBytes);
  for (; computed_end_ <= second; ++computed_end_) {
    const HmacKey chain_key(computed_key_.ExposeBytes());
    SecretBytes leaf(kHourKeySize);
    HkdfExpand(chain_key, {AsBytes(kLeafLabel)}, leaf.ExposeMutableBytes());
    HmacKey(leaf.ExposeBytes()).SaveTo(LeafOf(computed_end_));
    computed_key_ = NextKey(chain_key);
  }
}

}  // namespace mayfly
