#include "cli/reach.h"

#include <chrono>
#include <future>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace mayfly::cli {
namespace {

// A server that is there answers in milliseconds; one whose packets are dropped says nothing.
constexpr std::chrono::milliseconds kPatience(500);

}  // namespace

absl::Status ReachServer(const client::Client& client, const std::string& call_id,
                         const CommandLine& line, const Context& context) {
  std::promise<absl::Status> promise;
  std::future<absl::Status> reached = promise.get_future();
  client.DescribeCallsAsync(
      {call_id},
      [promise =
           std::move(promise)](client::Client::Results<client::CallDescription> calls) mutable {
        promise.set_value(calls.front().status());
      },
      {.timeout = line.timeout, .cancellation = context.interruption->cancellation()});
  if (reached.wait_for(kPatience) != std::future_status::ready && !context.report->HasNoted()) {
    context.report->Note(absl::StrCat("no answer from the server yet; trying for ",
                                      absl::FormatDuration(line.timeout)));
  }
  return reached.get();
}

}  // namespace mayfly::cli
