#include "client_lives.h"

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "base/notification.h"
#include "client_connect.h"
#include "mayfly/client.h"
#include "meter.h"

namespace mayfly::peers {
namespace {

// With a wait the client subscribes to the output, on a stream that all callers share.
constexpr absl::Duration kOutputWait = absl::Seconds(5);

// The state that all callers share.
struct Scene {
  const PayloadPool& pool;
  client::Client client;
  client::Client worker;
  Window* window;
  std::atomic<uint64_t> next_life{0};
  std::atomic<uint32_t> callers_left{0};
  Notification all_ended;
};

// Lives one call after another. Its steps follow each other, on the threads of the two clients.
class Caller {
 public:
  explicit Caller(Scene* scene) : scene_(scene), meter_(scene->window) {}

  void Begin() {
    if (scene_->window->IsOver(NowNs())) {
      // The last thing that happens: the scene is gone as soon as it is known.
      if (scene_->callers_left.fetch_sub(1) == 1) scene_->all_ended.Notify();
      return;
    }
    life_ = scene_->next_life.fetch_add(1);
    life_begun_ns_ = step_begun_ns_ = NowNs();
    scene_->client.PutInputAsync({.payload = {.data = std::string(scene_->pool.Input(life_))}},
                                 [this](absl::StatusOr<client::Stored> stored) {
                                   call_id_ = ValueOf("PutInput", std::move(stored)).call_id;
                                   EndStep(Step::kPutInput);
                                   GetInput();
                                 });
  }

  Meter meter() const { return meter_; }

 private:
  template <typename T>
  static T ValueOf(absl::string_view step, absl::StatusOr<T> result) {
    if (!result.ok()) Die(absl::StrCat(step, ": ", result.status().ToString()));
    return *std::move(result);
  }

  void EndStep(Step step) {
    const int64_t now_ns = NowNs();
    meter_.AddStep(step, step_begun_ns_, now_ns);
    step_begun_ns_ = now_ns;
  }

  void GetInput() {
    scene_->worker.GetInputAsync(call_id_, [this](absl::StatusOr<client::StoredInput> input) {
      CheckEqual("GetInput", ValueOf("GetInput", std::move(input)).payload.data,
                 scene_->pool.Input(life_));
      EndStep(Step::kGetInput);
      PutOutput();
    });
  }

  void PutOutput() {
    scene_->worker.PutOutputAsync(
        {.call_id = call_id_, .payload = {.data = std::string(scene_->pool.Output(life_))}},
        [this](absl::StatusOr<client::Stored> stored) {
          ValueOf("PutOutput", std::move(stored));
          EndStep(Step::kPutOutput);
          Take();
        });
  }

  void Take() {
    scene_->client.AwaitOutputAsync(
        call_id_,
        [this](absl::StatusOr<client::ClaimedOutput> output) {
          const client::ClaimedOutput taken = ValueOf("AwaitOutput", std::move(output));
          CheckEqual("AwaitOutput", taken.payload.data, scene_->pool.Output(life_));
          EndStep(Step::kTakeOutput);
          Ack(taken.claim);
        },
        {.wait = kOutputWait});
  }

  void Ack(client::Claim claim) {
    scene_->client.AckOutputAsync(std::move(claim), [this](absl::StatusOr<absl::Time> erased) {
      ValueOf("AckOutput", std::move(erased));
      EndStep(Step::kEnd);
      meter_.AddLives(1, life_begun_ns_, NowNs());
      Begin();
    });
  }

  Scene* const scene_;
  Meter meter_;
  uint64_t life_ = 0;
  std::string call_id_;
  int64_t life_begun_ns_ = 0;
  int64_t step_begun_ns_ = 0;
};

}  // namespace

nlohmann::json RunClientLives(const MayflyTarget& target, const Workload& workload) {
  const PayloadPool pool(workload.payload_bytes);
  const double cpu_before = CpuSeconds();
  Window window(workload);
  Scene scene{.pool = pool,
              .client = ConnectOrDie(target, "client"),
              .worker = ConnectOrDie(target, "worker"),
              .window = &window,
              .callers_left = workload.lanes};
  std::vector<std::unique_ptr<Caller>> callers;
  for (uint32_t i = 0; i < workload.lanes; ++i) callers.push_back(std::make_unique<Caller>(&scene));
  for (auto& caller : callers) caller->Begin();
  scene.all_ended.WaitForNotification();
  std::vector<Meter> meters;
  for (auto& caller : callers) meters.push_back(caller->meter());
  nlohmann::json report = ReportOf(workload, window, std::move(meters));
  report["client_cpu_s"] = CpuSeconds() - cpu_before;
  return report;
}

}  // namespace mayfly::peers
