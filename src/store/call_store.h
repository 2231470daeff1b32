// The CallStore is Mayfly without the network: it ties the rules of call/, the cipher, storage and
// retention together, and keeps the promises in SECURITY.md.
//
// It owns the parts of the store and forwards to them:
//
//   puts, reads, claims, subscriptions, uploads, downloads      one kind of request each
//   router        brings requests to the shard of their call
//   shard/        decides about calls, one group after another
//   upkeep        what is done without being asked
//
//   RPC threads           seal, reserve slots, read inputs, commit inline what is small and not synced
//   commit threads         one per shard          load, decide, commit, sync, reply
//   worker threads         read outputs, open, call back
//   sweep thread           expires what is due, through the same shards
//   maintenance thread     hour keys, clock record, compaction, orphans; every second
//                          the sync of rows that no answer waited for
//
// Every request takes a batch and answers once, through its callback, with one result per item in
// the order of the request. A callback may call the store. It runs on a worker thread, on a commit
// thread between two groups, or, when nothing had to be waited for, on the caller's own thread before
// the request returns: callers must not hold locks. An item's error says nothing about its neighbours.
//
// An answer says what is durable: puts are on the disk (durability = "sync"), acks and deletes are
// on the disk and their secrets overwritten, whatever the durability. After a failed write or sync
// every item answers STORAGE_DOWN. If the error is of the kind kFailed, on_fatal is called once, for the
// process to end and recover (failure.h).
//
// Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/call_id.h"
#include "base/clock.h"
#include "base/thread_pool.h"
#include "call/operation.h"
#include "config/config.h"
#include "retention/sweeper.h"
#include "storage/storage.h"
#include "store/callback.h"
#include "store/claims.h"
#include "store/context.h"
#include "store/downloads.h"
#include "store/expiry.h"
#include "store/group_events.h"
#include "store/payload_cipher.h"
#include "store/puts.h"
#include "store/quota.h"
#include "store/reads.h"
#include "store/router.h"
#include "store/stepper.h"
#include "store/subscriptions.h"
#include "store/tenant.h"
#include "store/time_source.h"
#include "store/upkeep.h"
#include "store/uploads.h"

namespace mayfly {

struct DescribeResult {
  CallPhase phase = CallPhase::kUnknown;
  std::optional<StoredPayload> input;
  std::optional<StoredPayload> output;
  int64_t lease_end_ms = 0;  // of the claim, if the output is claimed
  int64_t ended_ms = 0;      // if the call has ended
  absl::Status status;
};

struct CallStoreOptions {
  const Config* config = nullptr;  // outlives the store
  Clock* clock = nullptr;          // outlives the store
  // A write or sync has failed (StorageErrorKind::kFailed): end the process. Called once, from any
  // thread.
  Failure::OnFatal on_fatal;
  // What an operator should know, one line at a time.
  Upkeep::OnLog on_log;
  // May be null; outlives the store.
  PayloadEndListener* payload_ends = nullptr;
  // Are told what the shards do, beside the store's own; outlive the store.
  std::vector<GroupObserver*> observers;
  // Tests drive sweep and maintenance by hand with Tick().
  bool background_threads = true;
  // Drives the rest by hand too: then there are no threads. Null: there are. Outlives the store.
  Stepper* stepper = nullptr;
};

class CallStore {
 public:
  // Recovers what storage holds and begins to sweep. `storage` has been opened.
  static absl::StatusOr<std::unique_ptr<CallStore>> Start(std::unique_ptr<Storage> storage,
                                                          CallStoreOptions options);
  // Drains, finishes what is queued, syncs and joins. No callback runs afterwards.
  ~CallStore();

  // The tenant of that name, made at its first use. The caller vouches for the name's grammar.
  absl::StatusOr<Tenant*> ResolveTenant(absl::string_view name);

  // An id for a call whose caller has minted none, by the time that it will be judged by.
  CallId MintCallId();

  // Runs `work`, and has all that it asks of this store on its thread decided in few groups afterwards.
  void Together(absl::FunctionRef<void()> work);

  // Inputs and outputs alike. The call ids of one batch need not differ. OK means stored, by this put
  // or an equal one.
  void Put(Tenant* tenant, std::vector<NewPut> puts, Callback<std::vector<PutResult>> done);
  // Inputs that would make it more than `bytes_max` come without their payload. Those that `taker`
  // (may be null) has no room for are refused: RESOURCE_EXHAUSTED (OVERLOADED).
  void GetInputs(Tenant* tenant, std::vector<CallId> call_ids, uint64_t bytes_max,
                 Callback<std::vector<InputResult>> done, PayloadTaker* taker = nullptr);
  // Call ids that come twice count once. Outputs that the taker has no room for come without their
  // payload, as larger ones do.
  std::shared_ptr<ClaimHandle> ClaimOutputs(Tenant* tenant, ClaimRequest request,
                                            Callback<ClaimResponse> done);
  // Waits for the calls that are added to it, until its End, which the caller must call.
  // `on_delivery` runs on a worker or commit thread. See subscription.h.
  std::shared_ptr<Subscription> Subscribe(Tenant* tenant, const SubscribeRequest& request,
                                          Callback<Delivery> on_delivery);
  void AckOutputs(Tenant* tenant, std::vector<ClaimRef> claims,
                  Callback<std::vector<EndResult>> done);
  void ReleaseOutputs(Tenant* tenant, std::vector<ClaimRef> claims,
                      Callback<std::vector<absl::Status>> done);
  void RenewClaims(Tenant* tenant, std::vector<ClaimRef> claims, int64_t lease_ms,
                   Callback<std::vector<RenewResult>> done);
  void DescribeCalls(Tenant* tenant, std::vector<CallId> call_ids,
                     Callback<std::vector<DescribeResult>> done);
  void DeleteCalls(Tenant* tenant, std::vector<CallId> call_ids,
                   Callback<std::vector<EndResult>> done);

  // Payloads of any size, a segment at a time: see uploads.h and download.h. The streams they give
  // must be destroyed before the store.
  void BeginUpload(Tenant* tenant, NewUpload upload, BeginUploadDone done);
  void QueryUpload(Tenant* tenant, const UploadId& id,
                   Callback<absl::StatusOr<UploadProgress>> done);
  // FAILED_PRECONDITION (CLAIM_LOST) for an output that is not claimed so.
  void BeginDownload(Tenant* tenant, const DownloadRequest& request, Downloads::Done done);

  // Answers all waiting claims and stops the subscriptions that wait. From now on puts, gets and
  // claims are refused as DRAINING, while acks and releases are still accepted.
  void Drain();

  // What time it is for call ids.
  int64_t SteadyMs() { return time_->Read().steady_ms; }
  // What time it is for reads.
  int64_t ReadMs() { return time_->Read().read_ms; }

  // Runs one round of sweep and maintenance on this thread, and returns when each shard has made a
  // group since: for tests without background threads.
  void Tick();

  struct Health {
    bool clocks_disagree = false;
    uint64_t queued_operations = 0;
    int64_t sweep_lag_ms = 0;  // how far behind the sweep is
  };
  Health health();

 private:
  CallStore(std::unique_ptr<Storage> storage, CallStoreOptions options,
            std::unique_ptr<TimeSource> time, const IdWindow& id_window);
  absl::Status Recover();

  // From the bottom up.
  CallStoreOptions options_;
  const std::unique_ptr<Storage> storage_;
  const PayloadCipher cipher_;
  const std::unique_ptr<TimeSource> time_;
  Tenants tenants_;
  Quota quota_;
  UsageObserver usage_observer_;
  Failure failure_;
  FenceSource fences_;
  std::unique_ptr<ThreadPool> workers_;  // null when there is a stepper
  const StoreContext context_;
  Router router_;
  Uploads uploads_;
  Expiry expiry_;
  Sweeper sweeper_;
  Puts puts_;
  Reads reads_;
  Claims claims_;
  Subscriptions subscriptions_;
  Downloads downloads_;
  std::unique_ptr<Upkeep> upkeep_;
};

}  // namespace mayfly
