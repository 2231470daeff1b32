// A Retrieval is one Client::Retrieve: await, deliver, acknowledge, and again when the claim was
// lost on the way. It blocks the caller's thread, and lives on its stack.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "client/core.h"
#include "mayfly/client.h"

namespace mayfly::client {

class Retrieval {
 public:
  // Gets the output, its data omitted if it is large, and brings that; the claim it leaves is the
  // one to acknowledge.
  using Consume = absl::FunctionRef<absl::Status(ClaimedOutput* output)>;

  // `consume` outlives this.
  Retrieval(std::shared_ptr<Core> core, std::string call_id, Consume consume,
            const RetrieveOptions& options);

  absl::StatusOr<absl::Time> Run();

 private:
  // What tells an output from the one that replaced it.
  struct Identity {
    uint32_t attempt = 0;
    uint64_t size_bytes = 0;
    friend bool operator==(const Identity&, const Identity&) = default;
  };

  absl::StatusOr<ClaimedOutput> Await(absl::Duration wait) const;
  absl::Status Deliver(ClaimedOutput* output);

  const std::shared_ptr<Core> core_;
  const Client client_;
  const std::string call_id_;
  const Consume consume_;
  const RetrieveOptions options_;
  const CallOptions call_options_;
  std::optional<Identity> delivered_;
};

// What a caller waits for: the output, held, its data omitted if it is large.
absl::StatusOr<ClaimedOutput> AwaitHeld(const std::shared_ptr<Core>& core,
                                        const std::string& call_id, const RetrieveOptions& options);

}  // namespace mayfly::client
