#include "slot_watch.h"

#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "keys/slot_format.h"
#include "workload.h"

namespace mayfly::peers {
namespace {

constexpr auto kPeriod = std::chrono::milliseconds(500);

// The generation of each slot that is live, 0 of the others. A slot that is read while it is being
// written looks damaged; it counts as live until the next look.
std::vector<uint64_t> LiveGenerations(const std::string& slot_file) {
  const std::string bytes = ReadFileOrDie(slot_file);
  std::vector<uint64_t> generations;
  SlotBytes slot;
  for (uint32_t number = 0; OffsetOfSlot(number) + kSlotBytes <= bytes.size(); ++number) {
    memcpy(slot.data(), &bytes[OffsetOfSlot(number)], kSlotBytes);
    const SlotContent content = DecodeSlot(number, slot);
    const bool is_live =
        content.kind == SlotContent::Kind::kLive || content.kind == SlotContent::Kind::kDamaged;
    generations.push_back(is_live ? content.generation : 0);
  }
  return generations;
}

uint64_t CountStillLive(const std::vector<uint64_t>& before, const std::vector<uint64_t>& now) {
  uint64_t count = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    count += before[i] != 0 && i < now.size() && before[i] == now[i] ? 1 : 0;
  }
  return count;
}

}  // namespace

nlohmann::json RunSlotWatch(const std::string& slot_file, double seconds) {
  const int64_t give_up_ns = NowNs() + static_cast<int64_t>(seconds * 1e9);
  const std::vector<uint64_t> before = LiveGenerations(slot_file);
  nlohmann::json counts = nlohmann::json::array();
  nlohmann::json erased_s = nullptr;
  while (erased_s.is_null() && NowNs() < give_up_ns) {
    std::this_thread::sleep_for(kPeriod);
    const double now_s = static_cast<double>(NowNs()) / 1e9;
    const uint64_t live = CountStillLive(before, LiveGenerations(slot_file));
    counts.push_back({now_s, live});
    if (live == 0) erased_s = now_s;
  }
  return {{"live_at_start", CountStillLive(before, before)},
          {"erased_s", erased_s},
          {"counts", counts}};
}

}  // namespace mayfly::peers
