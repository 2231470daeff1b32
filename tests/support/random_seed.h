// The seed of tests with random choices.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <random>

namespace mayfly {

// The environment's MAYFLY_TEST_SEED, to repeat a run that failed, else a new one. The caller shows
// it when it fails.
inline uint64_t RandomSeed() {
  const char* const given = std::getenv("MAYFLY_TEST_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
}

}  // namespace mayfly
