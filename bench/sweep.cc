// The cost of erasing calls that nobody retrieved.
#include <chrono>

#include "benchmark/benchmark.h"

#include "store_driver.h"

namespace mayfly {
namespace {

constexpr uint32_t kCalls = 32'768;
constexpr uint32_t kBatchCalls = 256;
constexpr uint32_t kBatchesInFlight = 4;

double SecondsOf(absl::FunctionRef<void()> work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Claim: sweeping calls that all fall due at once costs at most a fifth of putting them.
void BM_Sweep(benchmark::State& state) {
  StoreHarness harness;
  harness.config.storage.durability =
      state.range(0) != 0 ? Config::Durability::kSync : Config::Durability::kRelaxed;
  harness.Open();
  double put_seconds = 0;
  double sweep_seconds = 0;
  for (auto _ : state) {
    StoreDriver driver(
        &harness,
        {.call_count = kCalls, .batch_calls = kBatchCalls, .batches_in_flight = kBatchesInFlight});
    put_seconds += SecondsOf([&] { driver.PutAll(absl::Minutes(1)); });
    harness.clock.Advance(absl::Seconds(62));
    const double seconds = SecondsOf([&] {
      while (harness.tenant()->ledger.live_calls() > 0) harness.store()->Tick();
    });
    sweep_seconds += seconds;
    state.SetIterationTime(seconds);
  }
  state.SetItemsProcessed(state.iterations() * kCalls);
  state.counters["sweep_over_put"] = sweep_seconds / put_seconds;
}
BENCHMARK(BM_Sweep)->ArgName("sync")->Arg(0)->Arg(1)->UseManualTime()->Unit(
    benchmark::kMillisecond);

}  // namespace
}  // namespace mayfly

BENCHMARK_MAIN();
