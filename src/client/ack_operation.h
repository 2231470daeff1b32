// An AckOperation is the ack of an output that Holdings hold. It runs on the core's thread, apart
// from its construction.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "client/holdings.h"
#include "client/operation.h"
#include "client/reclaim.h"

namespace mayfly::client {

class Holdings::AckOperation : public CallerOperation<absl::StatusOr<absl::Time>> {
 public:
  AckOperation(std::shared_ptr<Holdings> holdings, std::shared_ptr<Core> core, Claim claim,
               absl::Duration timeout, AckDone done)
      : CallerOperation(std::move(core), timeout, std::move(done)),
        holdings_(std::move(holdings)),
        claim_(std::move(claim)) {}
  using Operation::CancelWith;
  using Operation::SetDeadline;

  const Claim& claim() const { return claim_; }
  // That was delivered. Without it a lost claim is not reclaimed.
  void set_version(const OutputVersion& version) { version_ = version; }

  // In an AckOutputs request. On the caller's thread too, which holds `core`.
  void Send(const std::shared_ptr<Core>& core);

 private:
  void OnAnswer(absl::StatusOr<absl::Time> result);
  void OnEnd() override { holdings_->OnAckEnd(this); }
  void Reclaim();
  void OnReclaimed(const std::weak_ptr<Core>& weak_core, absl::StatusOr<ClaimedOutput> output);

  const std::shared_ptr<Holdings> holdings_;
  Claim claim_;
  std::optional<OutputVersion> version_;
  int reclaims_ = 0;
};

}  // namespace mayfly::client
