#include "client/lease_keeper.h"

#include <utility>
#include <vector>

#include <grpcpp/alarm.h>

#include "base/mutex.h"
#include "client/batch.h"
#include "client/rpcs.h"

namespace mayfly::client {

// Shared by the keeper and the alarm or renewal that is under way.
class LeaseKeeper::Renewals : public std::enable_shared_from_this<Renewals> {
 public:
  Renewals(std::shared_ptr<Core> core, Claim claim, absl::Duration lease)
      : core_(std::move(core)), claim_(std::move(claim)), lease_(lease) {
    ToProto(lease_, prototype_.mutable_lease());
  }

  void SetAlarm() EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    if (stopped_) return;
    alarm_ = std::make_unique<grpc::Alarm>();
    alarm_->Set(FromNow(lease_ / 3), [self = shared_from_this()](bool due) {
      if (due) self->Renew();
    });
  }

  void Stop() EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    stopped_ = true;
    alarm_.reset();
  }

 private:
  void Renew() EXCLUDES_LOCK(mutex_) {
    {
      MutexLock lock(&mutex_);
      if (stopped_) return;
      alarm_.reset();  // its closure holds a reference to its own owner
    }
    Batch<RenewClaimsRpc>::Start(
        core_, {claim_}, prototype_, TimeBudget(lease_ / 3),
        [self = shared_from_this()](std::vector<RenewClaimsRpc::Result> results) {
          const absl::Status status = results[0].status();
          // Any other error is final: the ack will tell what became of the claim.
          if (status.ok() || absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status)) {
            self->SetAlarm();
          }
        });
  }

  const std::shared_ptr<Core> core_;
  const Claim claim_;
  const absl::Duration lease_;
  v1::RenewClaimsRequest prototype_;
  Mutex mutex_;
  bool stopped_ GUARDED_BY(mutex_) = false;
  std::unique_ptr<grpc::Alarm> alarm_ GUARDED_BY(mutex_);
};

LeaseKeeper::LeaseKeeper(std::shared_ptr<Core> core, Claim claim, absl::Duration lease)
    : renewals_(std::make_shared<Renewals>(std::move(core), std::move(claim), lease)) {
  renewals_->SetAlarm();
}

LeaseKeeper::~LeaseKeeper() { renewals_->Stop(); }

}  // namespace mayfly::client
