// Complete lives of calls through the store without gRPC: put input, get input, put output, claim,
// ack, with two payloads.
#include <filesystem>

#include "benchmark/benchmark.h"
#include <sys/resource.h>

#include "store_driver.h"

namespace mayfly {
namespace {

constexpr uint32_t kCalls = 8192;
constexpr size_t kSmallBytes = 1 << 10;
constexpr size_t kLargeBytes = 64 << 10;
// As many calls under way as 64 callers with one each, or four batches.
constexpr uint32_t kSingleCallsInFlight = 64;
constexpr uint32_t kBatchesInFlight = 4;

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) { return t.tv_sec + t.tv_usec / 1e6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void PrepareHarness(bool sync, StoreHarness* harness) {
  harness->config.storage.durability =
      sync ? Config::Durability::kSync : Config::Durability::kRelaxed;
  harness->background_threads = true;
  harness->Open();
}

// Claim: batches are where throughput is; acks in random order cost little more than in put order,
// since a batch's slots are neighbours only in the latter.
void BM_Lifecycle(benchmark::State& state) {
  const auto payload_bytes = static_cast<size_t>(state.range(0));
  const uint32_t batch_calls = static_cast<uint32_t>(state.range(1));
  const uint32_t call_count = payload_bytes == kSmallBytes ? kCalls : kCalls / 8;
  StoreHarness harness;
  PrepareHarness(state.range(2) != 0, &harness);
  const double cpu_before = CpuSeconds();
  for (auto _ : state) {
    StoreDriver driver(
        &harness, {.call_count = call_count,
                   .batch_calls = batch_calls,
                   .batches_in_flight = batch_calls == 1 ? kSingleCallsInFlight : kBatchesInFlight,
                   .payload_bytes = payload_bytes,
                   .random_ack_order = state.range(3) != 0});
    driver.RunLives();
  }
  const double lives = static_cast<double>(state.iterations()) * call_count;
  state.SetItemsProcessed(state.iterations() * call_count);
  state.counters["cpu_us_per_life"] = (CpuSeconds() - cpu_before) / lives * 1e6;
}
BENCHMARK(BM_Lifecycle)
    ->ArgNames({"bytes", "batch", "sync", "random_acks"})
    ->ArgsProduct({{kSmallBytes}, {1, 32, 256}, {0, 1}, {0, 1}})
    ->ArgsProduct({{kLargeBytes}, {1, 8}, {0, 1}, {0}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

// Claim: calls that are acked while their rows are in the memtable leave no payload in SST files.
void BM_SstBytesOfCallsAckedYoung(benchmark::State& state) {
  StoreHarness harness;
  PrepareHarness(/*sync=*/false, &harness);
  for (auto _ : state) {
    StoreDriver driver(
        &harness, {.call_count = kCalls, .batch_calls = 32, .batches_in_flight = kBatchesInFlight});
    driver.RunLives();
  }
  // The hourly flush.
  harness.clock.Advance(absl::Minutes(61));
  harness.store()->Tick();
  double sst_bytes = 0;
  for (const auto& file : std::filesystem::recursive_directory_iterator(harness.data_dir())) {
    if (file.path().extension() == ".sst") sst_bytes += static_cast<double>(file.file_size());
  }
  const double lives = static_cast<double>(state.iterations()) * kCalls;
  state.counters["sst_bytes_per_call"] = sst_bytes / lives;
  state.counters["sst_bytes_per_payload_byte"] = sst_bytes / lives / 2048;
}
BENCHMARK(BM_SstBytesOfCallsAckedYoung)->Iterations(2)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace mayfly

BENCHMARK_MAIN();
