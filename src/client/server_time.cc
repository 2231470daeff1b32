#include "client/server_time.h"

#include <atomic>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"

#include "base/call_id.h"
#include "mayfly/error.h"

namespace mayfly::client {
namespace {

// How far the server's clock is ahead of this machine's.
std::atomic<int64_t> server_ahead_ms{0};

}  // namespace

absl::Time ServerTime() { return absl::Now() + absl::Milliseconds(server_ahead_ms.load()); }

bool LearnServerTime(const std::string& call_id, const absl::Status& status) {
  if (ReasonOf(status) != Reason::kIdOutsideWindow) return false;
  const absl::StatusOr<CallId> id = CallId::Parse(call_id);
  const auto metadata = MetadataOf(status);
  const auto value = metadata.find("value");
  int64_t id_ahead_ms = 0;  // of the server's clock
  if (!id.ok() || value == metadata.end() || !absl::SimpleAtoi(value->second, &id_ahead_ms)) {
    return false;
  }
  server_ahead_ms = id->time_ms() - id_ahead_ms - absl::ToUnixMillis(absl::Now());
  return true;
}

}  // namespace mayfly::client
