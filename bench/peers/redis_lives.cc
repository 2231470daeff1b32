#include "redis_lives.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include <sys/epoll.h>

#include "meter.h"

namespace mayfly::peers {
namespace {

constexpr std::array<const char*, kStepCount> kCommandNames = {"SET input", "GET", "SET output",
                                                               "GETDEL", "DEL"};
constexpr int kEventsMax = 64;

// Numbers the lives of all lanes.
struct Source {
  const Workload& workload;
  const PayloadPool& pool;
  Meter* meter;
  uint64_t next_life = 0;
  uint32_t lanes_under_way = 0;
};

class RedisLane final : public RedisCaller {
 public:
  RedisLane(Source* source, RedisConnection* connection)
      : source_(source), connection_(connection) {}

  // The first step of the next batch, unless the time is over.
  void Begin() {
    if (source_->meter->IsOver(NowNs())) return;
    ++source_->lanes_under_way;
    first_life_ = source_->next_life;
    source_->next_life += source_->workload.batch_calls;
    MintIds(source_->workload.batch_calls, &ids_);
    input_keys_.resize(ids_.size());
    output_keys_.resize(ids_.size());
    for (size_t i = 0; i < ids_.size(); ++i) {
      input_keys_[i] = absl::StrCat("i", ids_[i]);
      output_keys_[i] = absl::StrCat("o", ids_[i]);
    }
    life_begun_ns_ = NowNs();
    Send(Step::kPutInput);
  }

  void OnReply(const RedisReply& reply) override {
    Check(reply);
    if (++replies_ < ids_.size()) return;
    const int64_t now_ns = NowNs();
    source_->meter->AddStep(step_, step_begun_ns_, now_ns);
    if (step_ != Step::kEnd) return Send(static_cast<Step>(static_cast<int>(step_) + 1));
    source_->meter->AddLives(static_cast<uint32_t>(ids_.size()), life_begun_ns_, now_ns);
    --source_->lanes_under_way;
    Begin();
  }

 private:
  void Send(Step step) {
    step_ = step;
    replies_ = 0;
    step_begun_ns_ = NowNs();
    for (size_t i = 0; i < ids_.size(); ++i) {
      switch (step) {
        case Step::kPutInput:
          connection_->Set(input_keys_[i], Input(i), this);
          break;
        case Step::kGetInput:
          connection_->Get(input_keys_[i], this);
          break;
        case Step::kPutOutput:
          connection_->Set(output_keys_[i], Output(i), this);
          break;
        case Step::kTakeOutput:
          connection_->GetDel(output_keys_[i], this);
          break;
        case Step::kEnd:
          connection_->Del(input_keys_[i], this);
          break;
      }
    }
  }

  void Check(const RedisReply& reply) const {
    const absl::string_view name = kCommandNames[static_cast<size_t>(step_)];
    switch (step_) {
      case Step::kPutInput:
      case Step::kPutOutput:
        return CheckEqual(name, reply.text, "OK");
      case Step::kGetInput:
        return CheckEqual(name, reply.text, Input(replies_));
      case Step::kTakeOutput:
        return CheckEqual(name, reply.text, Output(replies_));
      case Step::kEnd:
        if (reply.integer != 1) Die(absl::StrCat(name, ": the key was not there"));
    }
  }

  absl::string_view Input(size_t i) const { return source_->pool.Input(first_life_ + i); }
  absl::string_view Output(size_t i) const { return source_->pool.Output(first_life_ + i); }

  Source* const source_;
  RedisConnection* const connection_;

  uint64_t first_life_ = 0;
  std::vector<std::string> ids_;
  std::vector<std::string> input_keys_;
  std::vector<std::string> output_keys_;
  int64_t life_begun_ns_ = 0;
  Step step_ = Step::kPutInput;
  int64_t step_begun_ns_ = 0;
  size_t replies_ = 0;  // to this step
};

// Waits for what the connections can do next, and does it.
class Loop {
 public:
  explicit Loop(const std::vector<std::unique_ptr<RedisConnection>>& connections)
      : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    for (const auto& connection : connections) Watch(connection.get(), EPOLL_CTL_ADD, EPOLLIN);
  }

  void Turn() {
    std::array<epoll_event, kEventsMax> events;
    const int count = epoll_wait(epoll_, events.data(), kEventsMax, -1);
    if (count < 0 && errno != EINTR) Die("redis: epoll_wait failed");
    for (int i = 0; i < count; ++i) {
      auto* const connection = static_cast<RedisConnection*>(events[i].data.ptr);
      connection->ReadReplies();
      FlushOrWatch(connection);
    }
  }

  void FlushOrWatch(RedisConnection* connection) {
    const bool is_written = connection->Flush();
    const auto waiting = std::find(unwritten_.begin(), unwritten_.end(), connection);
    if (is_written == (waiting == unwritten_.end())) return;
    if (is_written) {
      unwritten_.erase(waiting);
    } else {
      unwritten_.push_back(connection);
    }
    Watch(connection, EPOLL_CTL_MOD, is_written ? EPOLLIN : EPOLLIN | EPOLLOUT);
  }

 private:
  void Watch(RedisConnection* connection, int operation, uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.ptr = connection;
    if (epoll_ctl(epoll_, operation, connection->descriptor(), &event) != 0) {
      Die("redis: epoll_ctl failed");
    }
  }

  const int epoll_;
  std::vector<RedisConnection*> unwritten_;
};

}  // namespace

nlohmann::json RunRedisLives(const RedisTarget& target, const Workload& workload) {
  const PayloadPool pool(workload.payload_bytes);
  std::vector<std::unique_ptr<RedisConnection>> connections;
  for (uint32_t i = 0; i < workload.connections; ++i) {
    connections.push_back(std::make_unique<RedisConnection>(target));
  }
  Loop loop(connections);
  const double cpu_before = CpuSeconds();
  const int64_t begin_ns = NowNs() + workload.warm_up_ns;
  Meter meter(begin_ns, begin_ns + workload.measure_ns);
  Source source = {.workload = workload, .pool = pool, .meter = &meter};
  std::vector<std::unique_ptr<RedisLane>> lanes;
  for (uint32_t i = 0; i < workload.lanes; ++i) {
    lanes.push_back(
        std::make_unique<RedisLane>(&source, connections[i % connections.size()].get()));
    lanes.back()->Begin();
  }
  for (const auto& connection : connections) loop.FlushOrWatch(connection.get());
  while (source.lanes_under_way > 0) loop.Turn();
  nlohmann::json report = ReportOf(workload, {meter});
  report["client_cpu_s"] = CpuSeconds() - cpu_before;
  return report;
}

}  // namespace mayfly::peers
