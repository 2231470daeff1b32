#include "client/core.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "base/check.h"
#include "base/error.h"
#include "client/awaited_outputs.h"
#include "client/batchers.h"
#include "client/connections.h"
#include "client/limits.h"
#include "client/server_address.h"
#include "client/sessions.h"
#include "client/transfer_pool.h"

namespace mayfly::client {
namespace {

constexpr absl::Duration kLingerMax = absl::Milliseconds(1);
constexpr int kLargeChannelsMax = 64;
constexpr absl::Duration kKeepaliveTimeMin = absl::Seconds(10);  // what servers permit
}  // namespace

Core::Core(std::shared_ptr<Connections> connections, const ClientOptions& options,
           const SessionTimes& session_times)
    : options_(options),
      connections_(std::move(connections)),
      dispatcher_(std::make_shared<Dispatcher>(&thread_)),
      deadlines_(std::make_shared<Deadlines>(dispatcher_)),
      sessions_(std::make_shared<Sessions>(deadlines_, session_times)),
      batchers_(std::make_unique<Batchers>(options, deadlines_)),
      transfer_pool_(std::make_unique<TransferPool>(options.large_channels)),
      awaited_outputs_(AwaitedOutputs::New(OutputFeed::SettingsOf(options), deadlines_)) {}

Core::~Core() {
  connections_->Close();
  awaited_outputs_->Close();
  sessions_->Close();
  deadlines_->Close();
  batchers_.reset();
  transfer_pool_.reset();
  dispatcher_.reset();
  if (IsOwnThread()) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

void Core::CheckMayWait() const {
  Check(!IsOwnThread(), "a callback of a client does not wait for the client");
}

absl::Status CheckOptions(const ClientOptions& options) {
  if (!HasScheme(options.target)) RETURN_IF_ERROR(ParseServerAddress(options.target).status());
  if (options.timeout <= absl::ZeroDuration()) {
    return FieldError("timeout", absl::FormatDuration(options.timeout), "expected more than 0");
  }
  if (options.batch_bytes_max < 1 || options.batch_bytes_max > kMessageBytesMax) {
    return FieldError("batch_bytes_max", absl::StrCat(options.batch_bytes_max),
                      absl::StrCat("expected 1..", kMessageBytesMax, " bytes"));
  }
  if (options.linger < absl::ZeroDuration() || options.linger > kLingerMax) {
    return FieldError("linger", absl::FormatDuration(options.linger), "expected 0..1ms");
  }
  if (options.large_channels < 1 || options.large_channels > kLargeChannelsMax) {
    return FieldError("large_channels", absl::StrCat(options.large_channels),
                      absl::StrCat("expected 1..", kLargeChannelsMax));
  }
  if (options.keepalive_time < kKeepaliveTimeMin) {
    return FieldError(
        "keepalive_time", absl::FormatDuration(options.keepalive_time),
        absl::StrCat("expected ", absl::FormatDuration(kKeepaliveTimeMin), " or more"));
  }
  if (options.keepalive_timeout <= absl::ZeroDuration()) {
    return FieldError("keepalive_timeout", absl::FormatDuration(options.keepalive_timeout),
                      "expected more than 0");
  }
  if (options.retry.attempts_max < 1) {
    return FieldError("retry.attempts_max", absl::StrCat(options.retry.attempts_max),
                      "expected 1 or more");
  }
  if (options.retry.delay_min <= absl::ZeroDuration() ||
      options.retry.delay_max < options.retry.delay_min) {
    return FieldError("retry.delay_min", absl::FormatDuration(options.retry.delay_min),
                      absl::StrCat("expected more than 0 and at most retry.delay_max, ",
                                   absl::FormatDuration(options.retry.delay_max)));
  }
  return absl::OkStatus();
}

}  // namespace mayfly::client
