#include "crash/audit.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace mayfly {
namespace {

using Stub = v1::FunctionIo::Stub;

constexpr size_t kBatchCallsMax = 512;
// So that the answer fits into a message, whichever world is true.
constexpr size_t kBatchBytesMax = 32 << 20;
constexpr uint64_t kAnswerBytesMax = 60 << 20;

// As the contract advises for UNAVAILABLE: an answer is dropped when one of its payloads ends before
// it has left, and short-lived ones do.
template <typename Call>
grpc::Status Repeat(Call call) {
  constexpr int kAttemptsMax = 10;
  grpc::Status status;
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    status = call();
    if (status.error_code() != grpc::StatusCode::UNAVAILABLE) break;
  }
  return status;
}

}  // namespace

Audit::Audit(const TestServer& server, Findings* findings)
    : client_(server.Channel("client")), worker_(server.Channel("worker")), findings_(findings) {}

void Audit::Check(const std::vector<CallModel*>& calls) {
  Batch batch;
  size_t bytes = 0;
  for (CallModel* const call : calls) {
    if (batch.size() == kBatchCallsMax || bytes + call->BytesMax() > kBatchBytesMax) {
      CheckBatch(batch);
      batch.clear();
      bytes = 0;
    }
    batch.push_back(call);
    bytes += call->BytesMax();
  }
  if (!batch.empty()) CheckBatch(batch);
}

void Audit::CheckBatch(const Batch& batch) {
  const std::vector<Look> inputs = LookAtInputs(batch);
  const std::vector<Look> outputs = LookAtOutputs(batch);
  Batch acked, deleted;
  for (size_t i = 0; i < batch.size(); ++i) {
    Settle(batch[i], inputs[i], outputs[i]);
    if (batch[i]->world().phase == World::Phase::kDeleted) {
      deleted.push_back(batch[i]);
    } else if (!batch[i]->ack_token.empty()) {
      acked.push_back(batch[i]);
    }
  }
  RepeatAcks(acked);
  RepeatDeletes(deleted);
  checked_count_ += batch.size();
}

std::vector<Look> Audit::LookAtInputs(const Batch& batch) {
  v1::GetInputsRequest request;
  request.set_max_bytes(kAnswerBytesMax);
  for (const CallModel* const call : batch) request.add_call_ids(call->id);
  v1::GetInputsResponse response;
  const absl::Time begun = absl::Now();
  const grpc::Status status =
      Repeat([&] { return worker_.Call(&Stub::GetInputs, request, &response); });
  if (!status.ok()) findings_->Report(absl::StrCat("inputs cannot be got: ", Summary(status)));
  std::vector<Look> looks(batch.size());
  for (size_t i = 0; i < batch.size(); ++i) {
    looks[i].begun = begun;
    looks[i].ended = absl::Now();
    if (!status.ok()) continue;
    auto* const result = response.mutable_results(static_cast<int>(i));
    looks[i].summary = Summary(result->status());
    looks[i].data = std::move(*result->mutable_payload()->mutable_data());
  }
  return looks;
}

std::vector<Look> Audit::LookAtOutputs(const Batch& batch) {
  v1::ClaimOutputsRequest request;
  request.set_max_bytes(kAnswerBytesMax);
  request.set_claim_token(NewClaimToken());
  for (const CallModel* const call : batch) request.add_call_ids(call->id);
  v1::ClaimOutputsResponse response;
  Look nothing{.summary = "PENDING", .begun = absl::Now()};
  const grpc::Status status =
      Repeat([&] { return client_.Call(&Stub::ClaimOutputs, request, &response); });
  if (!status.ok()) findings_->Report(absl::StrCat("outputs cannot be claimed: ", Summary(status)));
  nothing.ended = absl::Now();

  std::map<std::string, Look> found;
  v1::ReleaseOutputsRequest release;
  for (v1::ClaimedOutput& output : *response.mutable_outputs()) {
    Look& look = found.emplace(output.call_id(), nothing).first->second;
    look.summary = "OK";
    look.attempt = output.attempt();
    look.data = std::move(*output.mutable_payload()->mutable_data());
    auto* item = release.add_items();
    item->set_call_id(output.call_id());
    item->set_claim_token(request.claim_token());
    item->set_fence(output.fence());
  }
  for (const v1::EndedCall& ended : response.ended()) {
    found.emplace(ended.call_id(), nothing).first->second.summary = Summary(ended.status());
  }
  v1::ReleaseOutputsResponse released;
  if (release.items_size() > 0) client_.Call(&Stub::ReleaseOutputs, release, &released);

  std::vector<Look> looks;
  for (const CallModel* const call : batch) {
    const auto look = found.find(call->id);
    looks.push_back(look == found.end() ? nothing : look->second);
  }
  return looks;
}

void Audit::Settle(CallModel* call, const Look& input, const Look& output) {
  const auto is_true = [&](const World& world) {
    return AllowsInput(world, input) && AllowsOutput(world, output);
  };
  const auto found = std::find_if(call->worlds.begin(), call->worlds.end(), is_true);
  if (found == call->worlds.end()) {
    findings_->Report(absl::StrCat(call->Describe(), " but its input is ", input.summary, " (",
                                   input.data.size(), " bytes) and its output ", output.summary,
                                   " (", output.data.size(), " bytes, attempt ", output.attempt,
                                   ")"));
    call->Answered(call->worlds.back());
    return;
  }
  call->Answered(World(*found));
}

void Audit::RepeatAcks(const Batch& batch) {
  if (batch.empty()) return;
  v1::AckOutputsRequest request;
  for (const CallModel* const call : batch) {
    auto* item = request.add_items();
    item->set_call_id(call->id);
    item->set_claim_token(call->ack_token);
    item->set_fence(call->ack_fence);
  }
  v1::AckOutputsResponse response;
  const grpc::Status status = client_.Call(&Stub::AckOutputs, request, &response);
  if (!status.ok()) return findings_->Report(absl::StrCat("acks fail: ", Summary(status)));
  for (size_t i = 0; i < batch.size(); ++i) {
    const v1::AckResult& result = response.results(static_cast<int>(i));
    CheckRepetition(batch[i], Summary(result.status()), TimeOf(result.erase_time()));
  }
}

void Audit::RepeatDeletes(const Batch& batch) {
  if (batch.empty()) return;
  v1::DeleteCallsRequest request;
  for (const CallModel* const call : batch) request.add_call_ids(call->id);
  v1::DeleteCallsResponse response;
  const grpc::Status status = client_.Call(&Stub::DeleteCalls, request, &response);
  if (!status.ok()) return findings_->Report(absl::StrCat("deletes fail: ", Summary(status)));
  for (size_t i = 0; i < batch.size(); ++i) {
    const v1::DeleteResult& result = response.results(static_cast<int>(i));
    CheckRepetition(batch[i], Summary(result.status()), TimeOf(result.erase_time()));
  }
}

void Audit::CheckRepetition(CallModel* call, const std::string& summary, absl::Time erased) {
  World& world = call->world();
  const bool has_ended = world.phase != World::Phase::kLive;
  const std::string expected = has_ended ? "OK" : "FAILED_PRECONDITION CLAIM_LOST";
  if (summary != expected) {
    findings_->Report(absl::StrCat("repeating its end gave ", summary, ", expected ", expected,
                                   ": ", call->Describe()));
  } else if (has_ended && world.erased.value_or(erased) != erased) {
    findings_->Report(absl::StrCat("its time of erasure moved by ",
                                   absl::FormatDuration(erased - *world.erased), ": ",
                                   call->Describe()));
  }
  if (has_ended) world.erased = erased;
}

void Audit::EndAll(const std::vector<CallModel*>& calls) {
  for (CallModel* const call : calls) {
    if (call->is_short_lived || call->world().phase != World::Phase::kLive) continue;
    const std::string summary = client_.Delete(call->id);
    if (summary == "OK") {
      call->Answered(call->world().Ended(World::Phase::kDeleted));
    } else {
      findings_->Report(absl::StrCat("deleting gave ", summary, ", ", call->Describe()));
    }
  }
}

}  // namespace mayfly
