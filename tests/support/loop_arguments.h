// The command line of a test that repeats itself with random choices: COUNT [SEED].
#pragma once

#include <cstdint>
#include <optional>

#include "absl/strings/numbers.h"

#include "support/random_seed.h"

namespace mayfly {

struct LoopArguments {
  uint64_t count = 0;  // 1 or more
  uint64_t seed = 0;   // SEED, else the environment's MAYFLY_TEST_SEED, else a random one
};

// Nothing if the arguments are wrong.
inline std::optional<LoopArguments> ReadLoopArguments(int argc, char** argv) {
  if (argc < 2 || argc > 3) return std::nullopt;
  LoopArguments arguments{.seed = RandomSeed()};
  if (!absl::SimpleAtoi(argv[1], &arguments.count) || arguments.count < 1) return std::nullopt;
  if (argc == 3 && !absl::SimpleAtoi(argv[2], &arguments.seed)) return std::nullopt;
  return arguments;
}

}  // namespace mayfly
