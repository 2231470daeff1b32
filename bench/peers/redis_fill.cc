#include "redis_fill.h"

#include <algorithm>
#include <cerrno>
#include <poll.h>
#include <vector>

namespace mayfly::peers {
namespace {

class CountingCaller final : public RedisCaller {
 public:
  void OnReply(const RedisReply& reply) override {
    CheckEqual("SET", reply.text, "OK");
    ++replies_;
  }

  uint64_t replies() const { return replies_; }

 private:
  uint64_t replies_ = 0;
};

void WaitForConnection(const RedisConnection& connection, bool is_written) {
  pollfd descriptor = {.fd = connection.descriptor(), .events = POLLIN, .revents = 0};
  if (!is_written) descriptor.events |= POLLOUT;
  if (poll(&descriptor, 1, -1) < 0 && errno != EINTR) Die("redis: poll failed");
}

}  // namespace

nlohmann::json RunRedisFill(const RedisTarget& target, const Workload& workload, const Fill& fill) {
  const PayloadPool pool(workload.payload_bytes);
  RedisConnection connection(target);
  CountingCaller caller;
  FillSample sample(fill);
  std::vector<std::string> keys;
  const uint64_t under_way_max = uint64_t{workload.batch_calls} * workload.lanes;
  uint64_t sent = 0;
  const int64_t begun_ns = NowNs();
  while (caller.replies() < fill.calls) {
    while (sent < fill.calls && sent - caller.replies() < under_way_max) {
      MintIds(static_cast<uint32_t>(std::min<uint64_t>(workload.batch_calls, fill.calls - sent)),
              &keys);
      for (size_t i = 0; i < keys.size(); ++i) {
        connection.SetUntil(keys[i], pool.Input(sent + i), fill.end_unix_ms, &caller);
      }
      sample.Take(sent, keys);
      sent += keys.size();
    }
    WaitForConnection(connection, connection.Flush());
    connection.ReadReplies();
  }
  const double seconds = static_cast<double>(NowNs() - begun_ns) / 1e9;
  sample.WriteOrDie();
  return {{"calls", fill.calls},
          {"seconds", seconds},
          {"puts_per_s", static_cast<double>(fill.calls) / seconds}};
}

}  // namespace mayfly::peers
