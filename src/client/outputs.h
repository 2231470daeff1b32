// Outputs are what a client's callers wait for one by one, and what they hold.
//
// All waits share one OutputFeed. One that does not want to wait, and one whose wait is over, asks
// the server itself (ClaimOutputs): only its answer says that there is nothing.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "base/mutex.h"
#include "client/cancellation.h"
#include "client/core.h"
#include "client/holdings.h"
#include "client/output_feed.h"
#include "client/timer.h"
#include "mayfly/call.h"
#include "mayfly/client_options.h"

namespace mayfly::client {

// Thread-safe; callbacks run on the core's thread.
class Outputs : public OutputFeed::Listener, public std::enable_shared_from_this<Outputs> {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<ClaimedOutput>)>;

  static std::shared_ptr<Outputs> New(const OutputFeed::Settings& settings);
  ~Outputs() override;

  // The output is held; its data is omitted if it is large.
  void Await(const std::shared_ptr<Core>& core, std::string call_id, const RetrieveOptions& options,
             Done done) EXCLUDES_LOCK(mutex_);
  Holdings* holdings() const { return holdings_.get(); }
  void Close();

  void OnOutput(const std::string& token, v1::ClaimedOutput* output) override EXCLUDES_LOCK(mutex_);
  void OnStrayOutput(const Claim& claim) override;
  void OnEnded(const std::string& call_id, const absl::Status& status) override
      EXCLUDES_LOCK(mutex_);

 private:
  struct WaitOp {
    std::shared_ptr<Core> core;  // until it has ended; the core's thread's
    std::string call_id;
    RetrieveOptions options;
    absl::Duration timeout;
    absl::Duration wait_end;
    Done done;
    CancellationHook hook;  // of the thread that waits; it goes with the op
    bool asks = false;      // by itself
    bool ended = false;     // the core's thread's
  };
  using Op = std::shared_ptr<WaitOp>;

  void HookInto(const std::shared_ptr<Core>& core, const Op& op);
  void SetTimer(const std::shared_ptr<Core>& core, absl::Duration due) REQUIRES_LOCK(mutex_);
  void OnTime() EXCLUDES_LOCK(mutex_);
  void Ask(std::shared_ptr<Core> core, const Op& op, absl::Duration wait);
  void OnAnswer(const std::weak_ptr<Core>& weak_core, const Op& op,
                absl::StatusOr<ClaimedOutputs> claimed);
  // Nobody has its output any more. On the core's thread.
  void OnFree(const std::string& call_id) EXCLUDES_LOCK(mutex_);
  // Waits for nothing any more.
  void Remove(const Op& op) EXCLUDES_LOCK(mutex_);
  void End(const Op& op, absl::StatusOr<ClaimedOutput> result);

  std::shared_ptr<OutputFeed> feed_;
  std::shared_ptr<Holdings> holdings_;
  std::shared_ptr<Timer> timer_;
  absl::Duration stream_lease_;
  Mutex mutex_;
  std::weak_ptr<Core> core_ GUARDED_BY(mutex_);
  absl::Duration timer_due_ GUARDED_BY(mutex_) = absl::InfiniteDuration();
  absl::flat_hash_map<std::string, std::vector<Op>> waits_ GUARDED_BY(mutex_);
};

}  // namespace mayfly::client
