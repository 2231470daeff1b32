#include "client/lease_keeper.h"

#include <utility>
#include <vector>

#include <grpcpp/alarm.h>

#include "base/mutex.h"
#include "client/batch.h"
#include "client/rpcs.h"

namespace mayfly::client {

// Shared by the keeper and by the alarm or renewal that is under way.
class LeaseKeeper::Renewals : public Completion, public std::enable_shared_from_this<Renewals> {
 public:
  Renewals(std::shared_ptr<Core> core, Claim claim, absl::Duration lease)
      : core_(std::move(core)), claim_(std::move(claim)), lease_(lease) {
    ToProto(lease_, prototype_.mutable_lease());
  }

  void SetAlarm() EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    if (stopped_) return;
    self_ = shared_from_this();
    alarm_ = std::make_unique<grpc::Alarm>();
    alarm_->Set(core_->queue(), FromNow(lease_ / 3), this);
  }

  void Stop() EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    stopped_ = true;
    if (alarm_ != nullptr) alarm_->Cancel();
  }

  Then OnCompletion(bool) override EXCLUDES_LOCK(mutex_) {
    std::shared_ptr<Renewals> self;
    {
      MutexLock lock(&mutex_);
      self = std::move(self_);
      if (stopped_) return nullptr;
    }
    Renew();
    return nullptr;
  }

 private:
  void Renew() {
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
  std::shared_ptr<Renewals> self_ GUARDED_BY(mutex_);  // set: the alarm's completion is to come
};

LeaseKeeper::LeaseKeeper(std::shared_ptr<Core> core, Claim claim, absl::Duration lease)
    : renewals_(std::make_shared<Renewals>(std::move(core), std::move(claim), lease)) {
  renewals_->SetAlarm();
}

LeaseKeeper::~LeaseKeeper() { renewals_->Stop(); }

}  // namespace mayfly::client
