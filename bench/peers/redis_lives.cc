#include "redis_lives.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <unistd.h>
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
  Window* window;
  Meter* meter;
  uint64_t next_life = 0;
  uint32_t lanes_under_way = 0;
};

class RedisLane {
 public:
  RedisLane(Source* source, const std::vector<RedisConnection*>& connections) : source_(source) {
    for (RedisConnection* connection : connections) {
      ways_.push_back(std::make_unique<Way>(this, ways_.size(), connection));
    }
  }

  // The first step of the next batch, unless the time is over.
  void Begin() {
    if (source_->window->IsOver(NowNs())) return;
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

 private:
  // One of the connections that a lane's calls are spread over, in turns.
  class Way final : public RedisCaller {
   public:
    Way(RedisLane* lane, size_t first_call, RedisConnection* to)
        : connection(to), lane_(lane), first_call_(first_call) {}

    void OnReply(const RedisReply& reply) override {
      const size_t call = first_call_ + replies++ * lane_->ways_.size();
      lane_->OnReply(call, reply);
    }

    RedisConnection* const connection;
    size_t replies = 0;  // to this step

   private:
    RedisLane* const lane_;
    const size_t first_call_;
  };

  void OnReply(size_t call, const RedisReply& reply) {
    Check(call, reply);
    if (++replies_ < ids_.size()) return;
    const int64_t now_ns = NowNs();
    source_->meter->AddStep(step_, step_begun_ns_, now_ns);
    if (step_ != Step::kEnd) return Send(static_cast<Step>(static_cast<int>(step_) + 1));
    source_->meter->AddLives(static_cast<uint32_t>(ids_.size()), life_begun_ns_, now_ns);
    --source_->lanes_under_way;
    Begin();
  }

  void Send(Step step) {
    step_ = step;
    replies_ = 0;
    for (auto& way : ways_) way->replies = 0;
    step_begun_ns_ = NowNs();
    for (size_t i = 0; i < ids_.size(); ++i) {
      Way* const way = ways_[i % ways_.size()].get();
      RedisConnection* const connection = way->connection;
      switch (step) {
        case Step::kPutInput:
          connection->Set(input_keys_[i], Input(i), way);
          break;
        case Step::kGetInput:
          connection->Get(input_keys_[i], way);
          break;
        case Step::kPutOutput:
          connection->Set(output_keys_[i], Output(i), way);
          break;
        case Step::kTakeOutput:
          connection->GetDel(output_keys_[i], way);
          break;
        case Step::kEnd:
          connection->Del(input_keys_[i], way);
          break;
      }
    }
  }

  void Check(size_t call, const RedisReply& reply) const {
    const absl::string_view name = kCommandNames[static_cast<size_t>(step_)];
    switch (step_) {
      case Step::kPutInput:
      case Step::kPutOutput:
        return CheckEqual(name, reply.text, "OK");
      case Step::kGetInput:
        return CheckEqual(name, reply.text, Input(call));
      case Step::kTakeOutput:
        return CheckEqual(name, reply.text, Output(call));
      case Step::kEnd:
        if (reply.integer != 1) Die(absl::StrCat(name, ": the key was not there"));
    }
  }

  absl::string_view Input(size_t i) const { return source_->pool.Input(first_life_ + i); }
  absl::string_view Output(size_t i) const { return source_->pool.Output(first_life_ + i); }

  Source* const source_;
  std::vector<std::unique_ptr<Way>> ways_;

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
      : connections_(connections), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    for (const auto& connection : connections) Watch(connection.get(), EPOLL_CTL_ADD, EPOLLIN);
  }
  ~Loop() { close(epoll_); }

  void Turn() {
    std::array<epoll_event, kEventsMax> events;
    const int count = epoll_wait(epoll_, events.data(), kEventsMax, -1);
    if (count < 0 && errno != EINTR) Die("redis: epoll_wait failed");
    for (int i = 0; i < count; ++i) {
      static_cast<RedisConnection*>(events[i].data.ptr)->ReadReplies();
    }
    FlushAll();
  }

  // A reply on one connection may have had something to say on others.
  void FlushAll() {
    for (const auto& connection : connections_) {
      if (connection->HasUnwritten()) FlushOrWatch(connection.get());
    }
  }

 private:
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

  void Watch(RedisConnection* connection, int operation, uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.ptr = connection;
    if (epoll_ctl(epoll_, operation, connection->descriptor(), &event) != 0) {
      Die("redis: epoll_ctl failed");
    }
  }

  const std::vector<std::unique_ptr<RedisConnection>>& connections_;
  const int epoll_;
  std::vector<RedisConnection*> unwritten_;  // that wait until the peer reads on
};

// Connections beyond the number of lanes are shared out; fewer are shared.
std::vector<RedisConnection*> ConnectionsOf(
    uint32_t lane, const Workload& workload,
    const std::vector<std::unique_ptr<RedisConnection>>& connections) {
  std::vector<RedisConnection*> of_lane = {connections[lane % connections.size()].get()};
  for (size_t i = size_t{lane} + workload.lanes; i < connections.size(); i += workload.lanes) {
    of_lane.push_back(connections[i].get());
  }
  return of_lane;
}

}  // namespace

nlohmann::json RunRedisLives(const RedisTarget& target, const Workload& workload) {
  const PayloadPool pool(workload.payload_bytes);
  std::vector<std::unique_ptr<RedisConnection>> connections;
  for (uint32_t i = 0; i < workload.connections; ++i) {
    connections.push_back(std::make_unique<RedisConnection>(target));
  }
  Loop loop(connections);
  const double cpu_before = CpuSeconds();
  Window window(workload);
  Meter meter(&window);
  Source source = {.workload = workload, .pool = pool, .window = &window, .meter = &meter};
  std::vector<std::unique_ptr<RedisLane>> lanes;
  for (uint32_t i = 0; i < workload.lanes; ++i) {
    lanes.push_back(std::make_unique<RedisLane>(&source, ConnectionsOf(i, workload, connections)));
    lanes.back()->Begin();
  }
  loop.FlushAll();
  while (source.lanes_under_way > 0) loop.Turn();
  nlohmann::json report = ReportOf(workload, window, {meter});
  report["client_cpu_s"] = CpuSeconds() - cpu_before;
  return report;
}

}  // namespace mayfly::peers
