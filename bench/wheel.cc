// The cost of a timer: the TimerWheel beside a binary heap and a balanced tree, with the same work,
// 10^3 to 10^7 timers, and deadlines spread over 30 s.
//
// The heap cancels lazily, by a generation number that it checks when an entry comes up, as heaps
// in event loops do; its dead entries stay until their deadline, and bytes_per_item counts them.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <numeric>
#include <queue>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "benchmark/benchmark.h"

#include "base/check.h"
#include "retention/timer_wheel.h"

namespace mayfly {
namespace {

constexpr int64_t kSpreadMs = 30'000;
constexpr int64_t kTickMs = 100;
constexpr int64_t kRoundMs = 10'000;
constexpr size_t kBatch = 256;

// Counts what the peers allocate, with the 8 bytes that malloc puts before each block and its
// rounding to 16.
size_t allocated_bytes = 0;

template <typename T>
struct CountingAllocator {
  using value_type = T;
  CountingAllocator() = default;
  template <typename U>
  CountingAllocator(const CountingAllocator<U>&) {}

  static size_t Rounded(size_t count) { return (count * sizeof(T) + 8 + 15) / 16 * 16; }
  T* allocate(size_t count) {
    allocated_bytes += Rounded(count);
    return std::allocator<T>().allocate(count);
  }
  void deallocate(T* data, size_t count) {
    allocated_bytes -= Rounded(count);
    std::allocator<T>().deallocate(data, count);
  }
  friend bool operator==(const CountingAllocator&, const CountingAllocator&) { return true; }
};

class Wheel {
 public:
  static constexpr int64_t kWarmUpMs = 0;
  using Handle = TimerWheel::Handle;
  Wheel() : wheel_(TimerWheel::Options{}), empty_bytes_(wheel_.memory_bytes()) {}

  Handle Schedule(int64_t deadline_ms, uint64_t id) { return *wheel_.Schedule(deadline_ms, id); }
  void Cancel(Handle handle) { Check(wheel_.Cancel(handle), "the timer is there"); }
  size_t Advance(int64_t now_ms, std::vector<uint64_t>* out) {
    return wheel_.Advance(now_ms, kBatch - out->size(), out);
  }
  size_t bytes() const { return wheel_.memory_bytes() - empty_bytes_; }

 private:
  TimerWheel wheel_;
  size_t empty_bytes_;
};

class Heap {
 public:
  static constexpr int64_t kWarmUpMs = 2 * kSpreadMs;
  struct Handle {
    uint32_t place;
  };
  Heap() { allocated_bytes = 0; }

  Handle Schedule(int64_t deadline_ms, uint64_t id) {
    const uint32_t place = TakePlace();
    heap_.push({deadline_ms, id, place, generations_[place]});
    return {place};
  }
  void Cancel(Handle handle) { GiveBack(handle.place); }
  size_t Advance(int64_t now_ms, std::vector<uint64_t>* out) {
    const size_t before = out->size();
    while (out->size() < kBatch && !heap_.empty() && heap_.top().deadline_ms <= now_ms) {
      const Entry entry = heap_.top();
      heap_.pop();
      if (generations_[entry.place] != entry.generation) continue;
      out->push_back(entry.id);
      GiveBack(entry.place);
    }
    return out->size() - before;
  }
  size_t bytes() const { return allocated_bytes; }

 private:
  struct Entry {
    int64_t deadline_ms;
    uint64_t id;
    uint32_t place;
    uint32_t generation;
  };
  struct Later {
    bool operator()(const Entry& a, const Entry& b) const { return a.deadline_ms > b.deadline_ms; }
  };

  uint32_t TakePlace() {
    if (free_.empty()) {
      generations_.push_back(0);
      return static_cast<uint32_t>(generations_.size() - 1);
    }
    const uint32_t place = free_.back();
    free_.pop_back();
    return place;
  }
  void GiveBack(uint32_t place) {
    ++generations_[place];
    free_.push_back(place);
  }

  std::priority_queue<Entry, std::vector<Entry, CountingAllocator<Entry>>, Later> heap_;
  std::vector<uint32_t, CountingAllocator<uint32_t>> generations_;
  std::vector<uint32_t, CountingAllocator<uint32_t>> free_;
};

class Tree {
 public:
  static constexpr int64_t kWarmUpMs = 0;
  using Map = std::multimap<int64_t, uint64_t, std::less<>,
                            CountingAllocator<std::pair<const int64_t, uint64_t>>>;
  using Handle = Map::iterator;
  Tree() { allocated_bytes = 0; }

  Handle Schedule(int64_t deadline_ms, uint64_t id) { return map_.emplace(deadline_ms, id); }
  void Cancel(Handle handle) { map_.erase(handle); }
  size_t Advance(int64_t now_ms, std::vector<uint64_t>* out) {
    const size_t before = out->size();
    while (out->size() < kBatch && !map_.empty() && map_.begin()->first <= now_ms) {
      out->push_back(map_.begin()->second);
      map_.erase(map_.begin());
    }
    return out->size() - before;
  }
  size_t bytes() const { return allocated_bytes; }

 private:
  Map map_;
};

std::vector<int64_t> Deadlines(size_t count) {
  std::mt19937_64 random(20'240'229);
  std::vector<int64_t> deadlines_ms(count);
  for (int64_t& deadline_ms : deadlines_ms) {
    deadline_ms = 1 + static_cast<int64_t>(random() % kSpreadMs);
  }
  return deadlines_ms;
}

template <typename Timers>
void ReportBytes(const Timers& timers, benchmark::State& state) {
  state.counters["bytes_per_item"] =
      static_cast<double>(timers.bytes()) / static_cast<double>(state.range(0));
}

// Time moves so that N timers are replaced every 10 s, while deadlines are 30 to 60 s away: a timer
// is always cancelled before it falls due, as a lease that is acked. What the heap keeps of it
// comes up later, so only after 60 s does every step pay for a dead entry: that long it runs
// untimed.
template <typename Timers>
void CancelAndSchedule(benchmark::State& state, bool in_order) {
  const size_t count = static_cast<size_t>(state.range(0));
  const std::vector<int64_t> deadlines_ms = Deadlines(count);
  std::vector<uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::mt19937_64 random(7);
  Timers timers;
  std::vector<typename Timers::Handle> handles(count);
  for (size_t i = 0; i < count; ++i) {
    handles[i] = timers.Schedule(kSpreadMs + deadlines_ms[i], i);
  }

  std::vector<uint64_t> due;
  due.reserve(kBatch);
  const size_t steps_per_tick = std::max<size_t>(1, count * kTickMs / kRoundMs);
  int64_t now_ms = 0;
  size_t step = 0, step_of_tick = 0;
  const auto replace_one = [&] {
    const size_t i = order[step];
    timers.Cancel(handles[i]);
    handles[i] = timers.Schedule(now_ms + kSpreadMs + deadlines_ms[step], i);
    if (++step == count) step = 0;
    if (++step_of_tick < steps_per_tick) return;
    step_of_tick = 0;
    now_ms += kTickMs;
    Check(timers.Advance(now_ms, &due) == 0, "every timer was cancelled in time");
  };
  while (now_ms < Timers::kWarmUpMs) replace_one();
  for (auto _ : state) {
    if (step == 0 && !in_order) {
      state.PauseTiming();
      std::shuffle(order.begin(), order.end(), random);
      state.ResumeTiming();
    }
    replace_one();
  }
  ReportBytes(timers, state);
}

// Claim: a lease that is taken and acked costs the wheel one Schedule and one Cancel, under 60 ns
// in all whatever the number of leases, at 20 bytes each.
template <typename Timers>
void LeaseInOrder(benchmark::State& state) {
  CancelAndSchedule<Timers>(state, /*in_order=*/true);
}

// Claim: acks in random order, where every access misses the caches once the timers outgrow them,
// cost the wheel less than the heap or the tree.
template <typename Timers>
void LeaseInRandomOrder(benchmark::State& state) {
  CancelAndSchedule<Timers>(state, /*in_order=*/false);
}

// Claim: a timer that is scheduled and falls due costs the wheel under 60 ns in all until the
// timers outgrow the caches, and one miss more then.
template <typename Timers>
void ScheduleAndExpire(benchmark::State& state) {
  const size_t count = static_cast<size_t>(state.range(0));
  const std::vector<int64_t> deadlines_ms = Deadlines(count);
  Timers timers;
  for (size_t i = 0; i < count; ++i) timers.Schedule(deadlines_ms[i], i);

  std::vector<uint64_t> due;
  due.reserve(kBatch);
  int64_t now_ms = 0;
  size_t next_deadline = 0;
  for (auto _ : state) {
    while (due.empty()) {
      if (timers.Advance(now_ms, &due) == 0) now_ms += kTickMs;
    }
    timers.Schedule(now_ms + deadlines_ms[next_deadline], due.back());
    due.pop_back();
    if (++next_deadline == count) next_deadline = 0;
  }
  ReportBytes(timers, state);
}

// Claim: the first Advance after a jump over the whole horizon, every slot occupied, takes under
// 1 ms and does not grow with the number of timers once each slot has one.
void AdvanceOverTheHorizon(benchmark::State& state) {
  const uint64_t count = static_cast<uint64_t>(state.range(0));
  std::mt19937_64 random(7);
  std::vector<uint64_t> due;
  due.reserve(kBatch);
  for (auto _ : state) {
    TimerWheel wheel({});
    const uint64_t horizon_ms = static_cast<uint64_t>(wheel.horizon_ms());
    for (uint64_t id = 0; id < count; ++id) {
      Check(wheel.Schedule(static_cast<int64_t>(random() % horizon_ms), id).has_value(),
            "in reach");
    }
    due.clear();
    const auto begin = std::chrono::steady_clock::now();
    wheel.Advance(wheel.horizon_ms(), kBatch, &due);
    const auto end = std::chrono::steady_clock::now();
    state.SetIterationTime(std::chrono::duration<double>(end - begin).count());
  }
}

template <typename Timers>
void Register(const std::string& name) {
  // A fixed number: finding one would fill ten million timers anew for every guess.
  constexpr int64_t kIterations = 4'000'000;
  const std::pair<const char*, void (*)(benchmark::State&)> kBenchmarks[] = {
      {"LeaseInOrder/", LeaseInOrder<Timers>},
      {"LeaseInRandomOrder/", LeaseInRandomOrder<Timers>},
      {"ScheduleAndExpire/", ScheduleAndExpire<Timers>},
  };
  for (const auto& [prefix, function] : kBenchmarks) {
    benchmark::RegisterBenchmark((prefix + name).c_str(), function)
        ->RangeMultiplier(10)
        ->Range(1000, 10'000'000)
        ->Iterations(kIterations);
  }
}

}  // namespace
}  // namespace mayfly

int main(int argc, char** argv) {
  mayfly::Register<mayfly::Wheel>("wheel");
  mayfly::Register<mayfly::Heap>("heap");
  mayfly::Register<mayfly::Tree>("tree");
  benchmark::RegisterBenchmark("AdvanceOverTheHorizon/wheel", mayfly::AdvanceOverTheHorizon)
      ->RangeMultiplier(10)
      ->Range(10'000, 10'000'000)
      ->Iterations(3)
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
