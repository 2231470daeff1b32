#include "mayfly_lives.h"

#include <atomic>
#include <thread>
#include <utility>

#include "absl/functional/function_ref.h"

#include "mayfly_lane.h"

namespace mayfly::peers {
namespace {

// One thread's lanes and the queue that drives them.
struct LaneThread {
  explicit LaneThread(const Meter& window) : meter(window) {}

  grpc::CompletionQueue queue;
  Meter meter;
  std::vector<std::unique_ptr<MayflyLane>> lanes;
};

class Driver {
 public:
  Driver(const MayflyTarget& target, const Workload& workload)
      : workload_(workload),
        pool_(workload.payload_bytes),
        stubs_(Connect(target.address, target.certificate_directory, workload.connections)) {}

  // Lets every lane do one batch after another, as begun by `begin(lane)` until that is false.
  std::vector<Meter> Run(const Meter& window,
                         absl::FunctionRef<bool(MayflyLane* lane, const Meter& meter)> begin) {
    std::vector<std::unique_ptr<LaneThread>> threads;
    for (uint32_t i = 0; i < workload_.threads; ++i) {
      threads.push_back(std::make_unique<LaneThread>(window));
    }
    for (uint32_t i = 0; i < workload_.lanes; ++i) {
      LaneThread* const thread = threads[i % threads.size()].get();
      thread->lanes.push_back(std::make_unique<MayflyLane>(workload_, &pool_,
                                                           &stubs_[i % stubs_.size()],
                                                           &thread->queue, &thread->meter));
    }
    std::vector<std::thread> running;
    for (auto& thread : threads) {
      running.emplace_back([&begin, thread = thread.get()] { RunThread(thread, begin); });
    }
    for (std::thread& thread : running) thread.join();
    std::vector<Meter> meters;
    for (auto& thread : threads) meters.push_back(std::move(thread->meter));
    return meters;
  }

 private:
  static void RunThread(LaneThread* thread,
                        absl::FunctionRef<bool(MayflyLane* lane, const Meter& meter)> begin) {
    size_t lanes_under_way = 0;
    for (auto& lane : thread->lanes) lanes_under_way += begin(lane.get(), thread->meter) ? 1 : 0;
    void* tag = nullptr;
    bool ok = false;
    while (lanes_under_way > 0 && thread->queue.Next(&tag, &ok)) {
      MayflyLane* const lane = static_cast<MayflyLane*>(tag);
      if (lane->Continue()) continue;
      if (!begin(lane, thread->meter)) --lanes_under_way;
    }
  }

  const Workload& workload_;
  const PayloadPool pool_;
  const std::vector<Stubs> stubs_;
};

}  // namespace

nlohmann::json RunMayflyLives(const MayflyTarget& target, const Workload& workload) {
  Driver driver(target, workload);
  std::atomic<uint64_t> next_life = 0;
  const double cpu_before = CpuSeconds();
  const int64_t begin_ns = NowNs() + workload.warm_up_ns;
  const Meter window(begin_ns, begin_ns + workload.measure_ns);
  std::vector<Meter> meters = driver.Run(window, [&](MayflyLane* lane, const Meter& meter) {
    if (meter.IsOver(NowNs())) return false;
    lane->Begin(Part::kWholeLife, next_life.fetch_add(workload.batch_calls));
    return true;
  });
  nlohmann::json report = ReportOf(workload, std::move(meters));
  report["client_cpu_s"] = CpuSeconds() - cpu_before;
  return report;
}

nlohmann::json RunMayflyQueue(const MayflyTarget& target, const Workload& workload,
                              uint32_t call_count) {
  Driver driver(target, workload);
  const uint32_t batch_count = call_count / workload.batch_calls;
  std::vector<std::vector<std::string>> ids(batch_count);
  for (auto& batch : ids) MintIds(workload.batch_calls, &batch);
  const auto calls_per_s = [&](Part part) {
    std::atomic<uint32_t> next_batch = 0;
    const int64_t begun_ns = NowNs();
    driver.Run(Meter(0, 0), [&](MayflyLane* lane, const Meter&) {
      const uint32_t batch = next_batch.fetch_add(1);
      if (batch >= batch_count) return false;
      lane->Begin(part, uint64_t{batch} * workload.batch_calls, ids[batch]);
      return true;
    });
    return batch_count * workload.batch_calls * 1e9 / static_cast<double>(NowNs() - begun_ns);
  };
  const double puts_per_s = calls_per_s(Part::kPutInputs);
  calls_per_s(Part::kPutOutputs);
  const double takes_per_s = calls_per_s(Part::kTakeOutputs);
  return {{"payload_bytes", workload.payload_bytes},
          {"batch_calls", workload.batch_calls},
          {"lanes", workload.lanes},
          {"threads", workload.threads},
          {"connections", workload.connections},
          {"items", batch_count * workload.batch_calls},
          {"errors", 0},
          {"puts_per_s", puts_per_s},
          {"takes_per_s", takes_per_s}};
}

}  // namespace mayfly::peers
