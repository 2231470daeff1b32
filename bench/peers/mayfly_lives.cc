#include "mayfly_lives.h"

#include <atomic>
#include <memory>
#include <utility>

#include "absl/functional/function_ref.h"

#include "base/notification.h"
#include "mayfly_lane.h"

namespace mayfly::peers {
namespace {

// Starts a lane's next batch, unless there is none.
using BeginNext = absl::FunctionRef<bool(MayflyLane* lane)>;

// Connected, with a session for each role where the workload wants sessions.
class Connections {
 public:
  Connections(const MayflyTarget& target, const Workload& workload)
      : stubs_(Connect(target.address, target.certificate_directory, workload.connections)) {
    for (const Stubs& stubs : stubs_) {
      connections_.push_back({.client = LinkOf(stubs.client.get(), workload),
                              .worker = LinkOf(stubs.worker.get(), workload)});
    }
  }

  ~Connections() {
    for (const auto& session : sessions_) session->Close();
  }
  Connections(const Connections&) = delete;
  Connections& operator=(const Connections&) = delete;

  size_t size() const { return connections_.size(); }
  const Connection& operator[](size_t i) const { return connections_[i]; }

 private:
  Link LinkOf(Stub* stub, const Workload& workload) {
    if (!workload.by_session) return {.stub = stub};
    sessions_.push_back(std::make_unique<MayflySession>(stub));
    return {.stub = stub, .session = sessions_.back().get()};
  }

  const std::vector<Stubs> stubs_;
  std::vector<std::unique_ptr<MayflySession>> sessions_;
  std::vector<Connection> connections_;
};

// Lets every lane do one batch after another.
class LaneSet : public MayflyLane::Owner {
 public:
  explicit LaneSet(BeginNext begin_next) : begin_next_(begin_next) {}

  std::vector<Meter> Run(const Workload& workload, const PayloadPool& pool,
                         const Connections& connections, Window* window) {
    for (uint32_t i = 0; i < workload.lanes; ++i) {
      lanes_.push_back(std::make_unique<MayflyLane>(
          workload, &pool, &connections[i % connections.size()], this, window));
    }
    for (auto& lane : lanes_) OnBatchEnd(lane.get());
    all_ended_.WaitForNotification();
    std::vector<Meter> meters;
    for (auto& lane : lanes_) meters.push_back(lane->meter());
    return meters;
  }

 private:
  void OnBatchEnd(MayflyLane* lane) override {
    if (begin_next_(lane)) return;
    // The last thing that happens to the set: it is gone as soon as Run knows.
    if (ended_.fetch_add(1) + 1 == lanes_.size()) all_ended_.Notify();
  }

  const BeginNext begin_next_;
  std::vector<std::unique_ptr<MayflyLane>> lanes_;
  std::atomic<size_t> ended_ = 0;
  Notification all_ended_;
};

}  // namespace

nlohmann::json RunMayflyLives(const MayflyTarget& target, const Workload& workload) {
  const PayloadPool pool(workload.payload_bytes);
  const Connections connections(target, workload);
  std::atomic<uint64_t> next_life = 0;
  const double cpu_before = CpuSeconds();
  Window window(workload);
  const auto begin_next = [&](MayflyLane* lane) {
    if (window.IsOver(NowNs())) return lane->SendLastAcks();
    lane->Begin(Part::kWholeLife, next_life.fetch_add(workload.batch_calls));
    return true;
  };
  std::vector<Meter> meters = LaneSet(begin_next).Run(workload, pool, connections, &window);
  nlohmann::json report = ReportOf(workload, window, std::move(meters));
  report["client_cpu_s"] = CpuSeconds() - cpu_before;
  return report;
}

nlohmann::json RunMayflyQueue(const MayflyTarget& target, const Workload& workload,
                              uint32_t call_count) {
  const PayloadPool pool(workload.payload_bytes);
  const Connections connections(target, workload);
  const uint32_t batch_count = call_count / workload.batch_calls;
  std::vector<std::vector<std::string>> ids(batch_count);
  for (auto& batch : ids) MintIds(workload.batch_calls, &batch);
  const auto calls_per_s = [&](Part part) {
    std::atomic<uint32_t> next_batch = 0;
    const int64_t begun_ns = NowNs();
    const auto begin_next = [&](MayflyLane* lane) {
      const uint32_t batch = next_batch.fetch_add(1);
      if (batch >= batch_count) return false;
      lane->Begin(part, uint64_t{batch} * workload.batch_calls, ids[batch]);
      return true;
    };
    LaneSet(begin_next).Run(workload, pool, connections, /*window=*/nullptr);
    return batch_count * workload.batch_calls * 1e9 / static_cast<double>(NowNs() - begun_ns);
  };
  const double puts_per_s = calls_per_s(Part::kPutInputs);
  calls_per_s(Part::kPutOutputs);
  const double takes_per_s = calls_per_s(Part::kTakeOutputs);
  return {{"payload_bytes", workload.payload_bytes},
          {"batch_calls", workload.batch_calls},
          {"lanes", workload.lanes},
          {"connections", workload.connections},
          {"items", batch_count * workload.batch_calls},
          {"errors", 0},
          {"puts_per_s", puts_per_s},
          {"takes_per_s", takes_per_s}};
}

}  // namespace mayfly::peers
