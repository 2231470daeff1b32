// A Retrieval is one Client::Retrieve. It awaits the output, delivers it and acknowledges it, and
// begins again when the claim was lost before the ack. It blocks the caller's thread, and lives on
// that thread's stack.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "client/core.h"
#include "client/reclaim.h"
#include "mayfly/client.h"

namespace mayfly::client {

class Retrieval {
 public:
  // Gets the output, and downloads its data if that was omitted. The claim that it leaves in the
  // output is the one to acknowledge.
  using Consume = absl::FunctionRef<absl::Status(ClaimedOutput* output)>;

  // `consume` outlives this.
  Retrieval(std::shared_ptr<Core> core, std::string call_id, Consume consume,
            const RetrieveOptions& options);

  absl::StatusOr<absl::Time> Run();

 private:
  absl::StatusOr<ClaimedOutput> Await(absl::Duration wait) const;
  absl::Status Deliver(ClaimedOutput* output);

  const std::shared_ptr<Core> core_;
  const Client client_;
  const std::string call_id_;
  const Consume consume_;
  const RetrieveOptions options_;
  const CallOptions call_options_;
  std::optional<OutputVersion> delivered_;
};

// Waits for the output of a call. The output is held, and its data omitted if it is large.
absl::StatusOr<ClaimedOutput> AwaitHeld(const std::shared_ptr<Core>& core,
                                        const std::string& call_id, const RetrieveOptions& options);

}  // namespace mayfly::client
