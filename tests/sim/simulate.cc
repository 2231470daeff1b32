// Runs simulated stores, one for each seed:
//
//   mayfly_simulate COUNT [FIRST_SEED]
//
// A seed that fails is run once more, with a trace of what happened, and told. The same seed is the
// same story on every machine.
#include <cinttypes>
#include <cstdio>
#include <cstdlib>

#include "sim/simulation.h"
#include "support/loop_arguments.h"

namespace mayfly::sim {
namespace {

constexpr size_t kTraceMax = 200;

int TellFailure(uint64_t seed, const SimulationReport& failed) {
  const SimulationReport again = Simulation(seed, /*traces=*/true).Run();
  const size_t count = again.trace.size();
  for (size_t i = count > kTraceMax ? count - kTraceMax : 0; i < count; ++i) {
    std::printf("%s\n", again.trace[i].c_str());
  }
  std::printf("seed %" PRIu64 " fails: %s\n", seed, again.failure.c_str());
  if (again.failure.substr(0, 40) != failed.failure.substr(0, 40)) {
    std::printf("at first it failed otherwise: %s\n", failed.failure.c_str());
  }
  std::printf("to run it alone: mayfly_simulate 1 %" PRIu64 "\n", seed);
  return 1;
}

int Simulate(int argc, char** argv) {
  const auto arguments = ReadLoopArguments(argc, argv);
  if (!arguments) {
    std::fprintf(stderr, "usage: %s COUNT [FIRST_SEED]\n", argv[0]);
    return 2;
  }
  std::printf("from seed %" PRIu64 "\n", arguments->seed);
  std::fflush(stdout);
  uint64_t answers = 0;
  uint64_t crashes = 0;
  for (uint64_t i = 0; i < arguments->count; ++i) {
    const uint64_t seed = arguments->seed + i;
    const SimulationReport report = Simulation(seed, /*traces=*/false).Run();
    if (!report.failure.empty()) return TellFailure(seed, report);
    answers += report.answers;
    crashes += report.crashes;
  }
  std::printf("%" PRIu64 " seeds, %" PRIu64 " answers judged, %" PRIu64 " crashes\n",
              arguments->count, answers, crashes);
  return 0;
}

}  // namespace
}  // namespace mayfly::sim

int main(int argc, char** argv) { return mayfly::sim::Simulate(argc, argv); }
