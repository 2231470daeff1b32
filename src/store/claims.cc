#include "store/claims.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"

#include "base/error.h"
#include "crypto/sha256.h"

namespace mayfly {

struct Claims::Job {
  Tenant* tenant = nullptr;
  ClaimRequest request;
  std::weak_ptr<Poll> poll;                    // which owns the job
  std::vector<std::vector<WantedCall>> calls;  // by shard
  std::vector<NewClaim> claims;                // that the answer tells of
  ClaimResponse response;
  Callback<ClaimResponse> done;
};

class Claims::Handle : public ClaimHandle {
 public:
  Handle(Claims* claims, std::shared_ptr<Poll> poll, std::shared_ptr<Job> job)
      : claims_(claims), poll_(std::move(poll)), job_(std::move(job)) {}

  void Cancel() override { claims_->ReleaseClaims(job_->tenant, poll_->Cancel()); }
  // Those that are acked already are no claims any more, and refuse it.
  void ReleaseAnswer() override {
    claims_->ReleaseClaims(job_->tenant, std::exchange(job_->claims, {}));
  }

 private:
  Claims* const claims_;
  const std::shared_ptr<Poll> poll_;
  const std::shared_ptr<Job> job_;
};

TokenHash HashToken(const ClaimToken& token) {
  const Sha256Digest digest = Sha256Of(token);
  TokenHash hash;
  std::copy_n(digest.begin(), hash.size(), hash.begin());
  return hash;
}

std::vector<EndResult> EndResultsOf(std::vector<OperationResult> results) {
  std::vector<EndResult> answers;
  answers.reserve(results.size());
  for (OperationResult& result : results) {
    answers.push_back({.status = std::move(result.status), .ended_ms = result.ended_ms});
  }
  return answers;
}

std::shared_ptr<ClaimHandle> Claims::ClaimOutputs(Tenant* tenant, ClaimRequest request,
                                                  Callback<ClaimResponse> done) {
  auto job = std::make_shared<Job>();
  job->tenant = tenant;
  job->done = std::move(done);
  std::vector<CallId> call_ids;
  absl::flat_hash_set<CallId> seen;
  for (const CallId& call_id : request.call_ids) {
    if (seen.insert(call_id).second) call_ids.push_back(call_id);
  }
  const auto call_count = static_cast<uint32_t>(call_ids.size());
  job->calls = router_.Partition(*tenant, call_ids);
  const auto has_calls = [](const std::vector<WantedCall>& calls) { return !calls.empty(); };
  const int64_t now_ms = context_.time.Read().elapsed_ms;
  const ClaimTerms terms{
      .tenant = tenant,
      .token = request.token,
      .token_hash = HashToken(request.token),
      .lease_ms = request.lease_ms,
      .waits = request.wait_ms > 0,
      .wait_until_ms = request.wait_ms > 0 ? now_ms + request.wait_ms : 0,
  };
  const PollLimits limits{
      .count_max = request.count_max,
      .bytes_max = request.bytes_max,
      .call_count = call_count,
      .shard_count =
          static_cast<uint32_t>(std::count_if(job->calls.begin(), job->calls.end(), has_calls)),
  };
  job->request = std::move(request);
  router_.Begin();
  auto poll = std::make_shared<Poll>(terms, limits, [this, job](PollAnswer answer) {
    Unregister(*job);
    router_.RunLater([this, job, answer = std::move(answer)]() mutable {
      ReadOutputs(std::move(job), std::move(answer));
    });
    router_.End();
  });
  job->poll = poll;
  if (router_.is_draining() || call_count == 0) {
    poll->Answer(call_count == 0 ? absl::OkStatus() : DrainingError());
  } else {
    for (uint32_t i = 0; i < router_.shard_count(); ++i) {
      if (!job->calls[i].empty()) router_.shard(i).Register(poll, job->calls[i]);
    }
  }
  return std::make_shared<Handle>(this, std::move(poll), std::move(job));
}

void Claims::Unregister(const Job& job) {
  const std::shared_ptr<Poll> poll = job.poll.lock();
  if (poll == nullptr || !poll->terms().waits) return;
  for (uint32_t i = 0; i < router_.shard_count(); ++i) {
    if (!job.calls[i].empty()) router_.shard(i).Unregister(poll, job.calls[i]);
  }
}

void Claims::ReadOutputs(std::shared_ptr<Job> job, PollAnswer answer) {
  ClaimResponse& response = job->response;
  response.status = std::move(answer.status);
  response.pending_count = answer.pending_count;
  for (NewEnd& end : answer.ended) {
    response.ended.push_back({.call_id = end.call.key.id, .status = std::move(end.status)});
  }
  if (!response.status.ok()) {
    ReleaseClaims(job->tenant, answer.outputs);
    return job->done(std::move(response));
  }

  ReadClaims read =
      ReadClaimed(job->tenant, answer.outputs, job->request.bytes_max, job->request.taker);
  job->claims = std::move(answer.outputs);
  response.outputs = std::move(read.outputs);
  std::move(read.ended.begin(), read.ended.end(), std::back_inserter(response.ended));
  ExplainMissing(job->tenant, read.missing, [this, job](Missing missing) {
    ClaimResponse& explained = job->response;
    std::move(missing.ended.begin(), missing.ended.end(), std::back_inserter(explained.ended));
    explained.pending_count += static_cast<uint32_t>(missing.lost.size());
    if (job->request.ack_before_answer) {
      AckBeforeAnswer(job);
    } else {
      job->done(std::move(explained));
    }
  });
}

void Claims::ExplainMissing(Tenant* tenant, const std::vector<NewClaim>& missing,
                            Callback<Missing> done) {
  if (missing.empty()) return done({});
  std::vector<Reads::Question> questions;
  std::vector<CallId> call_ids;
  for (const NewClaim& claim : missing) {
    call_ids.push_back(claim.call.key.id);
    questions.emplace_back(claim.call.key.id, ReleaseOutput{.token = claim.claim.token,
                                                            .fence = claim.claim.fence,
                                                            .if_used_once = true});
  }
  reads_.ExplainMissing(
      tenant, std::move(questions),
      [call_ids = std::move(call_ids),
       done = std::move(done)](std::vector<absl::Status> reasons) mutable {
        Missing explained;
        for (size_t i = 0; i < reasons.size(); ++i) {
          if (ReasonOf(reasons[i]) == Reason::kClaimLost) {
            explained.lost.push_back(call_ids[i]);
          } else {
            explained.ended.push_back({.call_id = call_ids[i], .status = std::move(reasons[i])});
          }
        }
        done(std::move(explained));
      });
}

Claims::ReadClaims Claims::ReadClaimed(Tenant* tenant, const std::vector<NewClaim>& claims,
                                       uint64_t bytes_max, PayloadTaker* taker) {
  ReadClaims read;
  std::vector<ReadItem> items;
  std::vector<size_t> places;  // in outputs
  std::vector<ClaimedOutput> outputs;
  for (const NewClaim& made : claims) {
    if (made.payload.size_bytes <= bytes_max && reads_.Take(taker, *tenant, made.payload)) {
      places.push_back(outputs.size());
      items.push_back({.key = made.call.key, .stored = made.payload});
    }
    outputs.push_back({.call_id = made.call.key.id,
                       .stored = made.payload,
                       .fence = made.claim.fence,
                       .lease_end_ms = made.lease_end_ms});
  }
  reads_.ReadPayloads(tenant, PayloadKind::kOutput, &items);

  std::vector<bool> is_gone(outputs.size());
  std::vector<NewClaim> unreadable;  // nobody is to wait for the end of their leases
  for (size_t i = 0; i < items.size(); ++i) {
    absl::StatusOr<Payload>& payload = items[i].payload;
    if (payload.ok()) {
      outputs[places[i]].payload = *std::move(payload);
      continue;
    }
    if (taker != nullptr) taker->Return(items[i].stored.slot.generation);
    is_gone[places[i]] = true;
    if (absl::IsNotFound(payload.status())) {
      read.missing.push_back(claims[places[i]]);
    } else {
      read.ended.push_back({.call_id = items[i].key.id, .status = payload.status()});
      unreadable.push_back(claims[places[i]]);
    }
  }
  read.outputs.reserve(outputs.size());
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!is_gone[i]) read.outputs.push_back(std::move(outputs[i]));
  }
  NoteSent(tenant, read.outputs);
  if (!unreadable.empty()) ReleaseClaims(tenant, unreadable);
  return read;
}

// What is not sent is noted too: an ack that names a checksum may come from whoever has received the
// output under an earlier claim.
void Claims::NoteSent(Tenant* tenant, const std::vector<ClaimedOutput>& outputs) {
  std::vector<std::vector<SentOutput>> sent(router_.shard_count());
  for (const ClaimedOutput& output : outputs) {
    const CallKey key = {output.call_id, tenant->number};
    const absl::StatusOr<uint32_t> crc32c =
        output.payload.has_value()
            ? output.payload->metadata.crc32c
            : reads_.ReadCrc32c(tenant, {.key = key, .stored = output.stored});
    // Whatever is wrong with it, its download tells.
    if (!crc32c.ok()) continue;
    sent[router_.ShardOf(output.call_id)].push_back(
        {.key = key, .fence = output.fence, .crc32c = *crc32c});
  }
  for (uint32_t i = 0; i < router_.shard_count(); ++i) {
    if (!sent[i].empty()) router_.shard(i).NoteSent(std::move(sent[i]));
  }
}

void Claims::AckBeforeAnswer(std::shared_ptr<Job> job) {
  std::vector<ClaimRef> claims;
  std::vector<size_t> places;
  const std::vector<ClaimedOutput>& outputs = job->response.outputs;
  for (size_t i = 0; i < outputs.size(); ++i) {
    // What has not been read stays under its claim.
    if (!outputs[i].payload.has_value()) continue;
    claims.push_back({.call_id = outputs[i].call_id,
                      .token = job->request.token,
                      .fence = outputs[i].fence,
                      .crc32c = std::nullopt});
    places.push_back(i);
    if (job->request.taker != nullptr) {
      job->request.taker->ExpectEnd(outputs[i].stored.slot.generation);
    }
  }
  AckOutputs(job->tenant, std::move(claims), [job, places](std::vector<EndResult> results) {
    ClaimResponse& response = job->response;
    std::vector<ClaimedOutput> kept;
    for (size_t i = 0; i < results.size(); ++i) {
      ClaimedOutput& output = response.outputs[places[i]];
      output.acked = results[i].status.ok();
      if (output.acked) continue;
      // Not ours to give any more: at most once means that it is not sent.
      output.payload.reset();
      response.ended.push_back({.call_id = output.call_id, .status = std::move(results[i].status)});
    }
    for (ClaimedOutput& output : response.outputs) {
      const bool was_refused =
          std::any_of(response.ended.begin(), response.ended.end(),
                      [&](const EndedCall& ended) { return ended.call_id == output.call_id; });
      if (!was_refused) kept.push_back(std::move(output));
    }
    response.outputs = std::move(kept);
    job->done(std::move(response));
  });
}

void Claims::ReleaseClaims(Tenant* tenant, const std::vector<NewClaim>& made) {
  std::vector<ClaimRef> claims;
  for (const NewClaim& output : made) {
    claims.push_back({.call_id = output.call.key.id,
                      .token = output.claim.token,
                      .fence = output.claim.fence,
                      .crc32c = std::nullopt,
                      .if_used_once = true});
  }
  ReleaseOutputs(tenant, std::move(claims), [](std::vector<absl::Status>) {});
}

void Claims::AckOutputs(Tenant* tenant, std::vector<ClaimRef> claims,
                        Callback<std::vector<EndResult>> done) {
  router_.SubmitEach(
      tenant, claims,
      [](const ClaimRef& claim) {
        return std::pair<CallId, Operation>(claim.call_id,
                                            AckOutput{.token = claim.token,
                                                      .token_hash = HashToken(claim.token),
                                                      .fence = claim.fence,
                                                      .crc32c = claim.crc32c});
      },
      [done = std::move(done)](std::vector<OperationResult> results) mutable {
        done(EndResultsOf(std::move(results)));
      });
}

void Claims::ReleaseOutputs(Tenant* tenant, std::vector<ClaimRef> claims,
                            Callback<std::vector<absl::Status>> done) {
  router_.SubmitEach(
      tenant, claims,
      [](const ClaimRef& claim) {
        return std::pair<CallId, Operation>(
            claim.call_id,
            ReleaseOutput{
                .token = claim.token, .fence = claim.fence, .if_used_once = claim.if_used_once});
      },
      [done = std::move(done)](std::vector<OperationResult> results) mutable {
        std::vector<absl::Status> statuses;
        for (OperationResult& result : results) statuses.push_back(std::move(result.status));
        done(std::move(statuses));
      });
}

void Claims::RenewClaims(Tenant* tenant, std::vector<ClaimRef> claims, int64_t lease_ms,
                         Callback<std::vector<RenewResult>> done) {
  router_.SubmitEach(
      tenant, claims,
      [lease_ms](const ClaimRef& claim) {
        return std::pair<CallId, Operation>(
            claim.call_id,
            RenewClaim{.token = claim.token, .fence = claim.fence, .lease_ms = lease_ms});
      },
      [done = std::move(done)](std::vector<OperationResult> results) mutable {
        std::vector<RenewResult> answers;
        for (OperationResult& result : results) {
          answers.push_back(
              {.status = std::move(result.status), .lease_end_ms = result.lease_end_ms});
        }
        done(std::move(answers));
      });
}

}  // namespace mayfly
