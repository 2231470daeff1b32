// Models the possible state of a server that may be killed at any moment, from its answers alone.
//
// A World is one truth about a call. An operation that was answered leaves one world; one that was
// not leaves two, with it and without it, and the next look at the call tells which. The model
// knows the promises of the public contract and nothing of how they are kept.
//
// Plain values. A call belongs to one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace mayfly {

// Payload bytes, remembered as what generates them.
struct Content {
  uint64_t seed = 0;
  size_t size_bytes = 0;

  std::string Bytes() const;
};

struct StoredContent {
  Content content;
  uint32_t attempt = 0;  // outputs only
  // Readable before the first, gone from the second on, either in between.
  absl::Time readable_until = absl::InfiniteFuture();
  absl::Time gone_from = absl::InfiniteFuture();
};

struct World {
  enum class Phase { kAbsent, kLive, kConsumed, kDeleted };
  Phase phase = Phase::kAbsent;
  std::optional<StoredContent> input;
  std::optional<StoredContent> output;
  // When the payloads were erased, once an answer has told.
  std::optional<absl::Time> erased;

  World WithInput(const StoredContent& stored) const;
  World WithOutput(const StoredContent& stored) const;
  World Ended(Phase phase) const;
};

// The result of one read of a call.
struct Look {
  std::string summary;   // "OK", "PENDING", or the code and the reason
  std::string data;      // when OK
  uint32_t attempt = 0;  // when OK, outputs only
  absl::Time begun;
  absl::Time ended;
};

bool AllowsInput(const World& world, const Look& look);
bool AllowsOutput(const World& world, const Look& look);

struct CallModel {
  std::string id;
  std::vector<World> worlds = {World()};
  // Of the last ack that was sent.
  std::string ack_token;
  uint64_t ack_fence = 0;
  bool is_short_lived = false;

  bool IsSettled() const { return worlds.size() == 1; }
  World& world() { return worlds.front(); }
  const World& world() const { return worlds.front(); }
  void Answered(const World& after) { worlds = {after}; }
  void Unanswered(const World& after) { worlds.push_back(after); }

  // For good, so that nothing of it may ever be readable again.
  bool IsOver(absl::Time now) const;
  size_t BytesMax() const;
  std::string Describe() const;
};

}  // namespace mayfly
