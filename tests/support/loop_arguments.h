// The command line of a test that repeats itself with random choices: COUNT [SEED].
#pragma once

#include <cstdint>
#include <cstdlib>
#include <optional>
#include <random>

#include "absl/strings/numbers.h"

namespace mayfly {

struct LoopArguments {
  uint64_t count = 0;  // 1 or more
  uint64_t seed = 0;   // SEED, else the environment's MAYFLY_TEST_SEED, else a random one
};

// Nothing if the arguments are wrong.
inline std::optional<LoopArguments> ReadLoopArguments(int argc, char** argv) {
  if (argc < 2 || argc > 3) return std::nullopt;
  LoopArguments arguments{.seed = std::random_device()()};
  if (!absl::SimpleAtoi(argv[1], &arguments.count) || arguments.count < 1) return std::nullopt;
  const char* const seed = argc == 3 ? argv[2] : std::getenv("MAYFLY_TEST_SEED");
  if (seed != nullptr && !absl::SimpleAtoi(seed, &arguments.seed)) return std::nullopt;
  return arguments;
}

}  // namespace mayfly
