// A Retrieval is one Client::Retrieve: claim, deliver, acknowledge, and claim again when the claim
// was lost on the way. It blocks the caller's thread, and lives on its stack.
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
  using Consume = absl::FunctionRef<absl::Status(const ClaimedOutput& output)>;

  // `consume` outlives this.
  Retrieval(std::shared_ptr<Core> core, std::string call_id, Consume consume,
            const RetrieveOptions& options);

  absl::StatusOr<absl::Time> Run();

 private:
  // What tells an output from the one that replaced it.
  struct Identity {
    uint32_t attempt = 0;
    size_t size_bytes = 0;
    std::optional<uint32_t> crc32c;
    friend bool operator==(const Identity&, const Identity&) = default;
  };

  // `token` empty: a fresh claim.
  absl::StatusOr<ClaimedOutput> ClaimOne(absl::Duration wait, const std::string& token) const;
  absl::Status Deliver(const ClaimedOutput& output);

  const std::shared_ptr<Core> core_;
  const Client client_;
  const std::string call_id_;
  const Consume consume_;
  const RetrieveOptions options_;
  std::optional<Identity> delivered_;
};

}  // namespace mayfly::client
