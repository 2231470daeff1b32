// Offers is how a group meets the claimants of its shard: it offers them calls, and makes the
// claims that they take.
//
// A call with a change that is not answered is offered when it is: nobody may see what a loss of
// power could take back. For the shard's committer.
#pragma once

#include <memory>
#include <vector>

#include "store/shard/group.h"
#include "store/shard/shard.h"

namespace mayfly {

class Offers {
 public:
  Offers(Shard* shard, Group* group) : shard_(*shard), group_(*group) {}

  // Offers calls that have changed to those that wait for them, first come, first served. A
  // claimant hears once of all that the group has brought it.
  void ServeWoken();
  // In the order in which they came. To be called after the group's requests were decided: an ack
  // that was sent before the release counts.
  void Handle(std::vector<Registration> registrations);
  // kUnregister, kRelease and kPassOn, which need no call to be loaded.
  void Unregister(const Registration& registration);

 private:
  // kTaken: the claimant has learnt what became of the call, or does not want it any more.
  enum class Outcome { kTaken, kWaits, kWaitsForQuota };

  void Register(const Registration& registration);
  Outcome Offer(Claimant* claimant, const WantedCall& call);
  static Outcome OfferEnd(Claimant* claimant, const WantedCall& call, absl::Status status)
      REQUIRES_LOCK(claimant->mutex());
  static Outcome RefuseForQuota(Claimant* claimant, const WantedCall& call)
      REQUIRES_LOCK(claimant->mutex());
  void ReleaseClaimsOf(const Claimant* holder);
  void RemoveWaits(const Registration& registration);
  bool HasUnansweredChange(const Registration& registration) const;

  Shard& shard_;
  Group& group_;
};

}  // namespace mayfly
