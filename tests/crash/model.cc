#include "crash/model.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace mayfly {
namespace {

constexpr char kExpired[] = "NOT_FOUND CALL_EXPIRED";

// Sebastiano Vigna's splitmix64: fast, and any seed will do.
uint64_t NextRandom(uint64_t* state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

bool MayBeReadable(const StoredContent& stored, const Look& look) {
  return look.begun < stored.gone_from;
}

bool MayBeGone(const StoredContent& stored, const Look& look) {
  return look.ended >= stored.readable_until;
}

bool Shows(const StoredContent& stored, const Look& look) {
  return look.summary == "OK" && look.attempt == stored.attempt &&
         look.data.size() == stored.content.size_bytes && look.data == stored.content.Bytes();
}

// The answer to every read of a call that has no payloads.
const char* EndOf(World::Phase phase) {
  switch (phase) {
    case World::Phase::kConsumed:
      return "NOT_FOUND OUTPUT_CONSUMED";
    case World::Phase::kDeleted:
      return "NOT_FOUND CALL_DELETED";
    case World::Phase::kAbsent:
    case World::Phase::kLive:
      break;
  }
  return "NOT_FOUND CALL_UNKNOWN";
}

std::string Describe(const World& world) {
  std::string text = world.phase == World::Phase::kLive ? "live" : EndOf(world.phase);
  if (world.input) absl::StrAppend(&text, ", input of ", world.input->content.size_bytes, " bytes");
  if (world.output) {
    absl::StrAppend(&text, ", output ", world.output->attempt, " of ",
                    world.output->content.size_bytes, " bytes");
  }
  return text;
}

}  // namespace

std::string Content::Bytes() const {
  std::string bytes(size_bytes, '\0');
  uint64_t state = seed;
  for (size_t offset = 0; offset < size_bytes; offset += sizeof(uint64_t)) {
    const uint64_t word = NextRandom(&state);
    std::memcpy(bytes.data() + offset, &word, std::min(sizeof word, size_bytes - offset));
  }
  return bytes;
}

World World::WithInput(const StoredContent& stored) const {
  World after = *this;
  after.phase = Phase::kLive;
  after.input = stored;
  return after;
}

World World::WithOutput(const StoredContent& stored) const {
  World after = *this;
  after.output = stored;
  return after;
}

World World::Ended(Phase ended) const {
  World after;
  after.phase = ended;
  return after;
}

bool AllowsInput(const World& world, const Look& look) {
  if (world.phase != World::Phase::kLive) return look.summary == EndOf(world.phase);
  const bool output_may_be_gone = world.output && MayBeGone(*world.output, look);
  const bool output_may_be_there = !world.output || MayBeReadable(*world.output, look);
  if (look.summary == kExpired) return MayBeGone(*world.input, look) || output_may_be_gone;
  return MayBeReadable(*world.input, look) && output_may_be_there && Shows(*world.input, look);
}

bool AllowsOutput(const World& world, const Look& look) {
  if (world.phase != World::Phase::kLive) return look.summary == EndOf(world.phase);
  // The output's end is the call's; without an output it is the input's.
  const StoredContent& decides = world.output ? *world.output : *world.input;
  if (look.summary == kExpired) return MayBeGone(decides, look);
  if (!MayBeReadable(decides, look)) return false;
  return world.output ? Shows(*world.output, look) : look.summary == "PENDING";
}

bool CallModel::IsOver(absl::Time now) const {
  if (!IsSettled()) return false;
  if (world().phase != World::Phase::kLive) return true;
  const StoredContent& decides = world().output ? *world().output : *world().input;
  return now >= decides.gone_from;
}

size_t CallModel::BytesMax() const {
  size_t bytes = 0;
  for (const World& each : worlds) {
    bytes = std::max(bytes, (each.input ? each.input->content.size_bytes : 0) +
                                (each.output ? each.output->content.size_bytes : 0));
  }
  return bytes;
}

std::string CallModel::Describe() const {
  std::string text = absl::StrCat("call ", id, " may be");
  for (const World& each : worlds) absl::StrAppend(&text, " [", mayfly::Describe(each), "]");
  return text;
}

}  // namespace mayfly
