// The CallStore is Mayfly without the network: it ties the rules of call/, the cipher, storage and
// retention together, and keeps the promises in SECURITY.md.
//
//   RPC threads           seal, reserve slots, read inputs, commit what is small and not synced --.
//   commit threads         one per shard          queue -> load, apply, commit, sync, reply      <-'
//   worker threads         read outputs, open, call back
//   sweep thread           expires what is due, through the same commit threads
//   maintenance thread     epoch keys, clock record, compaction, orphans; every second
//                          the sync of rows that no answer waited for
//
// Every request takes a batch and answers once, through its callback, with one result per item in
// the order of the request. A callback may call the store; it runs on a worker thread, on a commit
// thread between two groups, or, when nothing had to be waited for, on the caller's own before the
// request returns: so no lock may be held by who calls. An item's error says nothing about its
// neighbours.
//
// An answer tells what is durable: puts are on the disk (durability = "sync"), acks and deletes are
// on the disk and their secrets overwritten, whatever the durability. What the store cannot write
// it cannot answer for: after a failed write or sync every item answers STORAGE_DOWN and on_fatal
// is called once, for the process to end and recover.
//
// Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "base/call_id.h"
#include "base/clock.h"
#include "base/thread_pool.h"
#include "call/operation.h"
#include "config/config.h"
#include "retention/sweeper.h"
#include "storage/storage.h"
#include "store/claimed_output.h"
#include "store/download.h"
#include "store/leaving_payload.h"
#include "store/payload.h"
#include "store/payload_cipher.h"
#include "store/poll.h"
#include "store/shard.h"
#include "store/subscription.h"
#include "store/tenant.h"
#include "store/time_source.h"
#include "store/upkeep.h"
#include "store/uploads.h"

namespace mayfly {

struct NewInput {
  CallId call_id;
  NewPayload payload;
  int64_t ttl_ms = 0;
};

struct NewOutput {
  CallId call_id;
  uint32_t attempt = 1;
  NewPayload payload;
  int64_t ttl_ms = 0;
};

struct PutResult {
  absl::Status status;
  int64_t deadline_ms = 0;  // 0 when the call was consumed since: nothing is stored
};

struct InputResult {
  absl::Status status;
  std::optional<Payload> payload;  // absent when it did not fit into max_bytes
  uint64_t size_bytes = 0;
  int64_t deadline_ms = 0;
};

struct ClaimRequest {
  std::vector<CallId> call_ids;
  uint32_t count_max = 0;
  uint64_t bytes_max = 0;
  int64_t wait_ms = 0;
  int64_t lease_ms = 0;
  ClaimToken token{};
  bool ack_before_answer = false;  // AckMode AUTO
  PayloadTaker* taker = nullptr;   // null: there is room for all
};

struct ClaimResponse {
  absl::Status status;  // of the whole: QUOTA_CLAIMS, DRAINING, STORAGE_DOWN
  std::vector<ClaimedOutput> outputs;
  std::vector<EndedCall> ended;
  uint32_t pending_count = 0;
};

// How an ack, a release or a renewal names a claim.
struct ClaimRef {
  CallId call_id;
  ClaimToken token{};
  uint64_t fence = 0;
  std::optional<uint32_t> crc32c;  // ack only: of the data received
  bool if_used_once = false;       // release only: see ReleaseOutput
};

struct EndResult {
  absl::Status status;
  int64_t ended_ms = 0;
};

struct RenewResult {
  absl::Status status;
  int64_t lease_end_ms = 0;
};

struct DescribeResult {
  CallPhase phase = CallPhase::kUnknown;
  std::optional<StoredPayload> input;
  std::optional<StoredPayload> output;
  absl::Status status;
};

template <typename T>
using Callback = absl::AnyInvocable<void(T)>;

// A claim that may still be waiting. Dropping the handle changes nothing.
class ClaimHandle {
 public:
  virtual ~ClaimHandle() = default;
  // Ends the wait, and releases what it has claimed but not answered.
  virtual void Cancel() = 0;
  // The answer did not reach the client: releases its claims, except those that another answer to
  // the same token tells of. To be called after the answer, once.
  virtual void ReleaseAnswer() = 0;
};

struct SubscribeRequest {
  ClaimToken token{};
  int64_t lease_ms = 0;
  uint64_t bytes_max = 0;         // larger outputs come without their payload
  PayloadTaker* taker = nullptr;  // as in ClaimRequest; until End is done
};

struct CallStoreOptions {
  const Config* config = nullptr;  // outlives the store
  Clock* clock = nullptr;          // outlives the store
  // A write or sync has failed: end the process. Called once, from any thread.
  absl::AnyInvocable<void(const absl::Status&)> on_fatal;
  // What an operator should know, one line at a time.
  absl::AnyInvocable<void(Config::LogLevel, const std::string&)> on_log;
  // May be null; outlives the store.
  PayloadEndListener* payload_ends = nullptr;
  // Tests drive sweep and maintenance by hand with Tick().
  bool background_threads = true;
};

class CallStore : private ExpirySink, private SubscriptionHost {
 public:
  // Recovers what storage holds and begins to sweep. `storage` has been opened.
  static absl::StatusOr<std::unique_ptr<CallStore>> Start(std::unique_ptr<Storage> storage,
                                                          CallStoreOptions options);
  // Drains, finishes what is queued, syncs and joins. No callback runs afterwards.
  ~CallStore() override;

  // The tenant of that name, made at its first use. The caller vouches for the name's grammar.
  absl::StatusOr<Tenant*> ResolveTenant(absl::string_view name);

  // An id for a call whose caller has minted none, by the time that it will be judged by.
  CallId MintCallId();

  // The call ids of one batch need not differ. OK means stored, by this put or an equal one.
  void PutInputs(Tenant* tenant, std::vector<NewInput> inputs,
                 Callback<std::vector<PutResult>> done);
  void PutOutputs(Tenant* tenant, std::vector<NewOutput> outputs,
                  Callback<std::vector<PutResult>> done);
  // Inputs that would make it more than `bytes_max` come without their payload. Those that `taker`
  // (may be null) has no room for are refused: RESOURCE_EXHAUSTED (OVERLOADED).
  void GetInputs(Tenant* tenant, std::vector<CallId> call_ids, uint64_t bytes_max,
                 Callback<std::vector<InputResult>> done, PayloadTaker* taker = nullptr);
  // Call ids that come twice count once. Outputs that the taker has no room for come without their
  // payload, as larger ones do.
  std::shared_ptr<ClaimHandle> ClaimOutputs(Tenant* tenant, ClaimRequest request,
                                            Callback<ClaimResponse> done);
  // Waits for calls that are added to it, until its End, which the caller owes it. `on_told` runs on
  // a worker or commit thread. See subscription.h.
  std::shared_ptr<Subscription> Subscribe(Tenant* tenant, const SubscribeRequest& request,
                                          Callback<Told> on_told);
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
  // must go before the store does.
  void BeginUpload(Tenant* tenant, NewUpload upload, BeginUploadDone done);
  void QueryUpload(Tenant* tenant, const UploadId& id,
                   Callback<absl::StatusOr<UploadProgress>> done);
  // FAILED_PRECONDITION (CLAIM_LOST) for an output that is not claimed so.
  void BeginDownload(Tenant* tenant, const DownloadRequest& request,
                     Callback<absl::StatusOr<std::shared_ptr<Download>>> done);

  // Answers all waiting claims and stops the subscriptions that wait; from now on puts, gets and
  // claims are refused as DRAINING, while acks and releases of what was handed out still go through.
  void Drain();

  // What time it is for reads.
  int64_t ReadMs() { return time_->Read().read_ms; }

  // Runs one round of sweep and maintenance on this thread, and returns when the commit threads
  // have come by once: for tests without background threads.
  void Tick();

  struct Health {
    bool clocks_disagree = false;
    uint64_t queued_operations = 0;
    int64_t sweep_lag_ms = 0;  // how far behind the sweep is
  };
  Health health();

 private:
  struct Put;
  struct PutJob;
  struct GetJob;
  struct ClaimJob;
  // A payload to be read, and how that went.
  struct ReadItem {
    CallKey key;
    StoredPayload stored;
    absl::StatusOr<Payload> payload = absl::UnknownError("not read yet");
  };
  // Whether there is room for it; a null taker takes all.
  bool Take(PayloadTaker* taker, const Tenant& tenant, const StoredPayload& stored);
  class PollHandle;

  CallStore(std::unique_ptr<Storage> storage, CallStoreOptions options);

  void Expire(absl::Span<const DuePayload> due) override;

  static absl::Status DrainingError();
  static TokenHash HashToken(const ClaimToken& token);
  uint32_t ShardOf(const CallId& call_id) const;
  void Submit(std::vector<Request> requests);
  // One operation for each item, in a batch whose results go to `done` (at once when there are no
  // items). `make_operation` gives pairs of CallId and Operation.
  template <typename Item, typename MakeOperation>
  void SubmitEach(Tenant* tenant, const std::vector<Item>& items, MakeOperation make_operation,
                  Batch::Done done) {
    if (items.empty()) return done({});
    auto batch = MakeBatch(items.size(), std::move(done));
    std::vector<Request> requests;
    requests.reserve(items.size());
    for (const Item& item : items) {
      auto [call_id, operation] = make_operation(item);
      requests.push_back(Request{.tenant = tenant,
                                 .key = {.id = call_id, .tenant = tenant->number},
                                 .operation = std::move(operation),
                                 .content = nullptr,
                                 .batch = batch,
                                 .index = requests.size()});
    }
    Submit(std::move(requests));
  }
  std::shared_ptr<Batch> MakeBatch(size_t count, Batch::Done done);
  // Within a group: when it has ended. Else on a worker thread.
  void RunLater(absl::AnyInvocable<void()> work);
  void RunOnWorker(absl::AnyInvocable<void()> work);
  void SubmitOne(Tenant* tenant, const CallKey& key, Operation operation,
                 std::unique_ptr<PutContent> content,
                 absl::AnyInvocable<void(OperationResult)> done);
  UploadsContext ContextOfUploads();
  // Between Begin and End the store is not destroyed.
  void Begin() EXCLUDES_LOCK(in_flight_mutex_);
  void End() EXCLUDES_LOCK(in_flight_mutex_);

  void PutPayloads(Tenant* tenant, std::vector<Put> puts, Callback<std::vector<PutResult>> done);
  // What storing it takes on the disk.
  static uint64_t RoomFor(const NewPayload& payload);
  absl::Status PreparePut(Tenant* tenant, const Put& put, SlotLease* lease, int64_t now_ms,
                          Request* request);
  void FinishPuts(PutJob* job, std::vector<OperationResult> results);

  // What GetInput says of each call as its rows are now. Empty when it refuses any: a refusal is the
  // shard's to tell, which knows what is answered already.
  std::vector<OperationResult> LookUpInputs(Tenant* tenant, const std::vector<CallId>& call_ids);
  void ReadInputs(std::shared_ptr<GetJob> job, std::vector<OperationResult> results);
  void ReadPayloads(Tenant* tenant, PayloadKind kind, std::vector<ReadItem>* items);
  absl::StatusOr<Payload> OpenRow(Tenant* tenant, PayloadKind kind, const ReadItem& item,
                                  const absl::StatusOr<Sealed>& row);
  // Asks the rules what became of calls that ended between decision and reading.
  void ExplainEnds(Tenant* tenant, std::vector<CallId> call_ids,
                   Callback<std::vector<absl::Status>> done);

  // The calls as the shards take them, by shard.
  std::vector<std::vector<WantedCall>> PartByShard(const Tenant& tenant,
                                                   const std::vector<CallId>& call_ids) const;
  void ForgetPoll(const ClaimJob& job);
  void ReadOutputs(std::shared_ptr<ClaimJob> job, PollAnswer answer);
  // What became of made claims: outputs, read as far as they are within bytes_max, and ended calls.
  struct ReadClaims {
    std::vector<ClaimedOutput> outputs;
    std::vector<EndedCall> ended;
    std::vector<CallId> ended_unexplained;
  };
  ReadClaims ReadClaimed(Tenant* tenant, const std::vector<MadeClaim>& claims, uint64_t bytes_max,
                         PayloadTaker* taker);
  void AckBeforeAnswer(std::shared_ptr<ClaimJob> job);
  void ReleaseClaims(Tenant* tenant, const std::vector<MadeClaim>& claims);
  void NoteSent(Tenant* tenant, const std::vector<ClaimedOutput>& outputs);
  absl::StatusOr<uint32_t> ReadCrc32c(Tenant* tenant, const ReadItem& item);

  size_t VisitCalls(const std::shared_ptr<Subscription>& subscription,
                    const std::vector<CallId>& call_ids) override;
  void ForgetCalls(const std::shared_ptr<Subscription>& subscription,
                   const std::vector<CallId>& call_ids) override;
  void OfferCalls(const Tenant& tenant, const std::vector<CallId>& call_ids) override;
  void TellNews(std::shared_ptr<Subscription> subscription) override;
  void ReleaseAll(const std::shared_ptr<Subscription>& subscription,
                  const std::vector<CallId>& call_ids) override;
  void AllReleased(absl::AnyInvocable<void()> done) override;
  void ReadAndTell(const std::shared_ptr<Subscription>& subscription, Subscription::News news);

  // From the bottom up.
  CallStoreOptions options_;
  const Config& config_;
  std::unique_ptr<Storage> storage_;
  PayloadCipher cipher_;
  std::unique_ptr<TimeSource> time_;
  Tenants tenants_;
  Sweeper sweeper_;
  std::atomic<bool> fatal_told_{false};
  std::atomic<bool> draining_{false};
  std::atomic<bool> unsynced_rows_{false};
  std::atomic<uint64_t> fence_counter_{1};
  absl::AnyInvocable<void(const absl::Status&)> on_fatal_;
  Mutex in_flight_mutex_;
  ConditionVariable all_ended_;
  uint64_t in_flight_ GUARDED_BY(in_flight_mutex_) = 0;
  std::unique_ptr<ThreadPool> workers_;
  std::unique_ptr<Uploads> uploads_;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::unique_ptr<Upkeep> upkeep_;
};

}  // namespace mayfly
