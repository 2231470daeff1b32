// AwaitedOutputs are the outputs that the callers of a client wait for one by one, and hold.
//
// All waits share one OutputFeed. A call without a wait, and one whose wait is over, polls the
// server (ClaimOutputs), because only the server knows that there is no output.
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
#include "client/core.h"
#include "client/holdings.h"
#include "client/operation.h"
#include "client/output_feed.h"
#include "mayfly/call.h"
#include "mayfly/client_options.h"

namespace mayfly::client {

// Thread-safe; callbacks run on the core's thread.
class AwaitedOutputs : public OutputFeed::Listener,
                       public std::enable_shared_from_this<AwaitedOutputs> {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<ClaimedOutput>)>;

  static std::shared_ptr<AwaitedOutputs> New(const OutputFeed::Settings& settings,
                                             const std::shared_ptr<Deadlines>& deadlines);

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
  class Wait;
  using Waits = std::vector<std::shared_ptr<Wait>>;

  void Ask(const std::shared_ptr<Core>& core, const std::shared_ptr<Wait>& wait,
           absl::Duration how_long);
  void OnAnswer(const std::weak_ptr<Core>& weak_core, const std::shared_ptr<Wait>& wait,
                absl::StatusOr<ClaimedOutput> output);
  // Called on the core's thread when the call's output is not held any more.
  void OnFree(const std::string& call_id) EXCLUDES_LOCK(mutex_);
  // The wait that is first in line for the output of a call; null if there is none.
  std::shared_ptr<Wait> TakeFirst(const std::string& call_id) EXCLUDES_LOCK(mutex_);
  void Remove(const Wait* wait) EXCLUDES_LOCK(mutex_);

  std::shared_ptr<OutputFeed> feed_;
  std::shared_ptr<Holdings> holdings_;
  absl::Duration stream_lease_;
  // Calls are subscribed and unsubscribed under it: otherwise the end of one wait could unsubscribe
  // a call that another wait has just begun to wait for. Taken before the locks of feed_ and
  // holdings_.
  Mutex mutex_;
  // By call id; the first of each gets the output.
  absl::flat_hash_map<std::string, Waits> waits_ GUARDED_BY(mutex_);
};

}  // namespace mayfly::client
