// A Core is what the copies of a Client share: the connections, the thread that runs everything
// that happens on them, the deadlines, and the tables of operations under way.
#pragma once

#include <algorithm>
#include <memory>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "client/connections.h"
#include "client/deadlines.h"
#include "client/dispatcher.h"
#include "client/session.h"
#include "mayfly/client_options.h"

namespace mayfly::client {

class AwaitedOutputs;
class Batchers;
class Sessions;
class TransferPool;

// Thread-safe. Operations under way hold the core, never the other way round, so the last reference
// may be dropped on the core's own thread.
class Core {
 public:
  Core(std::shared_ptr<Connections> connections, const ClientOptions& options,
       const SessionTimes& session_times = {});
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  Connections* connections() const { return connections_.get(); }
  const std::shared_ptr<Dispatcher>& dispatcher() const { return dispatcher_; }
  const std::shared_ptr<Deadlines>& deadlines() const { return deadlines_; }
  grpc::CompletionQueue* queue() const { return dispatcher_->queue(); }
  const ClientOptions& options() const { return options_; }
  bool IsOwnThread() const { return std::this_thread::get_id() == thread_.get_id(); }
  // Ends the process on the core's own thread, which would wait for itself.
  void CheckMayWait() const;

  Sessions* sessions() const { return sessions_.get(); }
  Batchers* batchers() const { return batchers_.get(); }
  // For Client::AwaitOutput and Retrieve.
  AwaitedOutputs* awaited_outputs() const { return awaited_outputs_.get(); }
  TransferPool* transfer_pool() const { return transfer_pool_.get(); }

 private:
  const ClientOptions options_;
  const std::shared_ptr<Connections> connections_;
  std::thread thread_;
  std::shared_ptr<Dispatcher> dispatcher_;
  std::shared_ptr<Deadlines> deadlines_;
  std::shared_ptr<Sessions> sessions_;
  std::unique_ptr<Batchers> batchers_;
  std::unique_ptr<TransferPool> transfer_pool_;
  std::shared_ptr<AwaitedOutputs> awaited_outputs_;
};

// The timeout that the options of one call ask for, or the client's.
template <typename Options>
absl::Duration TimeoutOf(const Core& core, const Options& options) {
  constexpr absl::Duration kLongest = absl::Hours(24 * 365);  // infinite does not fit gRPC's types
  return std::min(
      kLongest, options.timeout > absl::ZeroDuration() ? options.timeout : core.options().timeout);
}

// INVALID_ARGUMENT, naming the field, when an option is out of its range.
absl::Status CheckOptions(const ClientOptions& options);

}  // namespace mayfly::client
