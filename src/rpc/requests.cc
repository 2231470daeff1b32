#include "rpc/requests.h"

#include <string>
#include <utility>
#include <vector>

#include "rpc/answer.h"
#include "rpc/shared_outcome.h"

namespace mayfly {
namespace {

absl::StatusOr<CallId> ReadId(const std::string& text, const FieldPlace& place) {
  return ReadCallId(text, place);
}

template <typename Item>
absl::StatusOr<ClaimRef> ReadClaimItem(const Item& item, const FieldPlace& place) {
  return ReadClaim(item, place);
}

}  // namespace

template <typename Value, typename Result, typename Submit>
void Requests::SubmitItems(ValidItems<Value, Result> valid, Done done, Submit submit) const {
  if (valid.values.empty()) return done(absl::OkStatus());
  submit(std::move(valid.values), [done = std::move(done), results = std::move(valid.results),
                                   log = log_](auto answers) mutable {
    WriteResults(std::move(answers), results, log);
    done(absl::OkStatus());
  });
}

std::shared_ptr<ClaimHandle> Requests::PutInputs(const Caller& caller,
                                                 const v1::PutInputsRequest& request,
                                                 v1::PutInputsResponse* response, Done done) const {
  const ValidationLimits limits = {.config = &config_,
                                   .retention = &caller.tenant->policy().retention};
  auto valid = ReadItems<NewPut>(request.items(), "items", response->mutable_results(), log_,
                                 [&](const v1::InputItem& item, const FieldPlace& place) {
                                   return ReadInputItem(item, place, limits,
                                                        [&] { return caller.store->MintCallId(); });
                                 });
  NameMintedCalls(valid);
  SubmitItems(std::move(valid), std::move(done), [&](auto values, auto on_answers) {
    caller.store->Put(caller.tenant, std::move(values), std::move(on_answers));
  });
  return nullptr;
}

std::shared_ptr<ClaimHandle> Requests::GetInputs(const Caller& caller,
                                                 const v1::GetInputsRequest& request,
                                                 v1::GetInputsResponse* response, Done done) const {
  const auto bytes_max = ReadMaxBytes(request.max_bytes(), config_);
  if (!bytes_max.ok()) {
    done(bytes_max.status());
    return nullptr;
  }
  auto valid =
      ReadItems<CallId>(request.call_ids(), "call_ids", response->mutable_results(), log_, ReadId);
  SubmitItems(std::move(valid), std::move(done), [&](auto values, auto on_answers) {
    caller.store->GetInputs(caller.tenant, std::move(values), *bytes_max, std::move(on_answers),
                            caller.taker);
  });
  return nullptr;
}

std::shared_ptr<ClaimHandle> Requests::PutOutputs(const Caller& caller,
                                                  const v1::PutOutputsRequest& request,
                                                  v1::PutOutputsResponse* response,
                                                  Done done) const {
  const ValidationLimits limits = {.config = &config_,
                                   .retention = &caller.tenant->policy().retention};
  auto valid = ReadItems<NewPut>(request.items(), "items", response->mutable_results(), log_,
                                 [&](const v1::OutputItem& item, const FieldPlace& place) {
                                   return ReadOutputItem(item, place, limits);
                                 });
  SubmitItems(std::move(valid), std::move(done), [&](auto values, auto on_answers) {
    caller.store->Put(caller.tenant, std::move(values), std::move(on_answers));
  });
  return nullptr;
}

std::shared_ptr<ClaimHandle> Requests::ClaimOutputs(const Caller& caller,
                                                    const v1::ClaimOutputsRequest& request,
                                                    v1::ClaimOutputsResponse* response,
                                                    Done done) const {
  auto claim = ReadClaimRequest(request, config_);
  if (!claim.ok()) {
    done(claim.status());
    return nullptr;
  }
  claim->taker = caller.taker;
  if (!caller.may_wait) claim->wait_ms = 0;
  auto acks = ReadItems<ClaimRef>(request.acks(), "acks", response->mutable_ack_results(), log_,
                                  ReadClaimItem<v1::AckItem>);
  // A malformed id has no result of its own here. Such a call will never have an output, so it is
  // reported as ended, and the poll does not wait for the others.
  for (int i = 0; i < request.call_ids_size(); ++i) {
    const std::string& text = request.call_ids(i);
    const auto call_id = ReadCallId(text, {.list = "call_ids", .index = i});
    if (call_id.ok()) {
      claim->call_ids.push_back(*call_id);
      continue;
    }
    WriteMalformedCall(text, call_id.status(), log_, response->add_ended());
    claim->wait_ms = 0;
  }
  // The acks and the claim write into different parts of the response. The later one ends the request.
  auto outcome =
      std::make_shared<SharedOutcome>(std::move(done), /*count=*/acks.values.empty() ? 1 : 2);
  if (!acks.values.empty()) {
    caller.store->AckOutputs(
        caller.tenant, std::move(acks.values),
        [outcome, results = std::move(acks.results), log = log_](std::vector<EndResult> answers) {
          WriteResults(std::move(answers), results, log);
          outcome->Arrive(absl::OkStatus());
        });
  }
  return caller.store->ClaimOutputs(
      caller.tenant, *std::move(claim), [outcome, response, log = log_](ClaimResponse answer) {
        for (ClaimedOutput& output : answer.outputs) {
          WriteClaimedOutput(std::move(output), response->add_outputs());
        }
        for (const EndedCall& ended : answer.ended) {
          WriteEndedCall(ended, log, response->add_ended());
        }
        response->set_pending_count(answer.pending_count);
        outcome->Arrive(answer.status);
      });
}

std::shared_ptr<ClaimHandle> Requests::AckOutputs(const Caller& caller,
                                                  const v1::AckOutputsRequest& request,
                                                  v1::AckOutputsResponse* response,
                                                  Done done) const {
  auto valid = ReadItems<ClaimRef>(request.items(), "items", response->mutable_results(), log_,
                                   ReadClaimItem<v1::AckItem>);
  SubmitItems(std::move(valid), std::move(done), [&](auto values, auto on_answers) {
    caller.store->AckOutputs(caller.tenant, std::move(values), std::move(on_answers));
  });
  return nullptr;
}

std::shared_ptr<ClaimHandle> Requests::ReleaseOutputs(const Caller& caller,
                                                      const v1::ReleaseOutputsRequest& request,
                                                      v1::ReleaseOutputsResponse* response,
                                                      Done done) const {
  auto valid = ReadItems<ClaimRef>(request.items(), "items", response->mutable_results(), log_,
                                   ReadClaimItem<v1::ReleaseItem>);
  SubmitItems(std::move(valid), std::move(done), [&](auto values, auto on_answers) {
    caller.store->ReleaseOutputs(caller.tenant, std::move(values), std::move(on_answers));
  });
  return nullptr;
}

std::shared_ptr<ClaimHandle> Requests::RenewClaims(const Caller& caller,
                                                   const v1::RenewClaimsRequest& request,
                                                   v1::RenewClaimsResponse* response,
                                                   Done done) const {
  const auto lease_ms = ReadLeaseMs(request.has_lease(), request.lease(), config_);
  if (!lease_ms.ok()) {
    done(lease_ms.status());
    return nullptr;
  }
  auto valid = ReadItems<ClaimRef>(request.items(), "items", response->mutable_results(), log_,
                                   ReadClaimItem<v1::RenewItem>);
  SubmitItems(std::move(valid), std::move(done), [&](auto values, auto on_answers) {
    caller.store->RenewClaims(caller.tenant, std::move(values), *lease_ms, std::move(on_answers));
  });
  return nullptr;
}

std::shared_ptr<ClaimHandle> Requests::DescribeCalls(const Caller& caller,
                                                     const v1::DescribeCallsRequest& request,
                                                     v1::DescribeCallsResponse* response,
                                                     Done done) const {
  auto valid =
      ReadItems<CallId>(request.call_ids(), "call_ids", response->mutable_results(), log_, ReadId);
  SubmitItems(std::move(valid), std::move(done), [&](auto values, auto on_answers) {
    caller.store->DescribeCalls(caller.tenant, std::move(values), std::move(on_answers));
  });
  return nullptr;
}

std::shared_ptr<ClaimHandle> Requests::DeleteCalls(const Caller& caller,
                                                   const v1::DeleteCallsRequest& request,
                                                   v1::DeleteCallsResponse* response,
                                                   Done done) const {
  auto valid =
      ReadItems<CallId>(request.call_ids(), "call_ids", response->mutable_results(), log_, ReadId);
  SubmitItems(std::move(valid), std::move(done), [&](auto values, auto on_answers) {
    caller.store->DeleteCalls(caller.tenant, std::move(values), std::move(on_answers));
  });
  return nullptr;
}

}  // namespace mayfly
