#include "mayfly_lane.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "base/crc32c.h"
#include "client/random.h"

namespace mayfly::peers {
namespace {

using Async = v1::FunctionIo::StubInterface::async_interface;

constexpr uint64_t kMaxBytes = 64 << 20;  // the contract's limit: all that fits comes at once
constexpr int64_t kClaimWaitS = 5;
constexpr std::array<const char*, kStepCount> kRpcNames = {"PutInputs", "GetInputs", "PutOutputs",
                                                           "ClaimOutputs", "AckOutputs"};

const char* NameOf(Step step) { return kRpcNames[static_cast<size_t>(step)]; }

void SetPayload(absl::string_view data, v1::Payload* payload) {
  payload->set_data(data.data(), data.size());
  payload->set_crc32c(Crc32c(AsBytes(data)));
}

// As our client library does; returns the checksum, which goes into the ack.
uint32_t CheckPayload(Step step, const v1::Payload& payload, absl::string_view put) {
  const uint32_t crc32c = Crc32c(AsBytes(payload.data()));
  if (!payload.has_crc32c() || payload.crc32c() != crc32c) {
    Die(absl::StrCat(NameOf(step), ": crc32c is not that of the data"));
  }
  CheckEqual(NameOf(step), payload.data(), put);
  return crc32c;
}

void Read(const v1::NumberedResponse& from, const v1::PutInputsResponse** to) {
  *to = &from.put_inputs();
}
void Read(const v1::NumberedResponse& from, const v1::GetInputsResponse** to) {
  *to = &from.get_inputs();
}
void Read(const v1::NumberedResponse& from, const v1::PutOutputsResponse** to) {
  *to = &from.put_outputs();
}
void Read(const v1::NumberedResponse& from, const v1::ClaimOutputsResponse** to) {
  *to = &from.claim_outputs();
}
void Read(const v1::NumberedResponse& from, const v1::AckOutputsResponse** to) {
  *to = &from.ack_outputs();
}

// `count` items, those that are there already kept with their memory.
template <typename Item>
void ResizeItems(int count, google::protobuf::RepeatedPtrField<Item>* items) {
  items->Reserve(count);
  while (items->size() < count) items->Add();
  while (items->size() > count) items->RemoveLast();
}

}  // namespace

void MayflyLane::Begin(Part part, uint64_t first_life) {
  std::vector<std::string> ids = std::move(ids_);
  MintIds(workload_.batch_calls, &ids);
  Begin(part, first_life, std::move(ids));
}

void MayflyLane::Begin(Part part, uint64_t first_life, std::vector<std::string> ids) {
  part_ = part;
  first_life_ = first_life;
  ids_ = std::move(ids);
  claims_.clear();
  life_begun_ns_ = NowNs();
  switch (part) {
    case Part::kWholeLife:
    case Part::kPutInputs:
      return PutInputs();
    case Part::kPutOutputs:
      return PutOutputs();
    case Part::kTakeOutputs:
      return ClaimOutputs();
  }
}

bool MayflyLane::Continue() {
  switch (step_) {
    case Step::kPutInput:
      CheckResults(put_inputs_.response->results());
      if (part_ == Part::kPutInputs) return false;
      GetInputs();
      return true;
    case Step::kGetInput:
      CheckInputs();
      PutOutputs();
      return true;
    case Step::kPutOutput:
      CheckResults(put_outputs_.response->results());
      if (part_ == Part::kPutOutputs) return false;
      ClaimOutputs();
      return true;
    case Step::kTakeOutput:
      TakeRiddenAcks();
      TakeClaims();
      if (claims_.size() < ids_.size()) {
        ClaimOutputs();
        return true;
      }
      if (workload_.acks_ride) {
        KeepAcks();
        return false;
      }
      AckOutputs();
      return true;
    case Step::kEnd:
      CheckResults(ack_.response->results());
      EndLives(ids_.size(), workload_.acks_ride ? kept_begun_ns_ : life_begun_ns_);
      return false;
  }
  return false;
}

void MayflyLane::PutInputs() {
  auto* items = put_inputs_.request.mutable_items();
  ResizeItems(static_cast<int>(ids_.size()), items);
  for (size_t i = 0; i < ids_.size(); ++i) {
    v1::InputItem* const item = items->Mutable(static_cast<int>(i));
    item->set_call_id(ids_[i]);
    SetPayload(pool_->Input(first_life_ + i), item->mutable_payload());
  }
  Send(Step::kPutInput, connection_->client, &Async::PutInputs, &put_inputs_);
}

void MayflyLane::GetInputs() {
  get_inputs_.request.mutable_call_ids()->Assign(ids_.begin(), ids_.end());
  get_inputs_.request.set_max_bytes(kMaxBytes);
  Send(Step::kGetInput, connection_->worker, &Async::GetInputs, &get_inputs_);
}

void MayflyLane::CheckInputs() {
  CheckResults(get_inputs_.response->results());
  for (size_t i = 0; i < ids_.size(); ++i) {
    const v1::GetInputResult& result = get_inputs_.response->results(static_cast<int>(i));
    if (!result.has_payload()) Die("GetInputs: an input did not fit into the answer");
    CheckPayload(Step::kGetInput, result.payload(), pool_->Input(first_life_ + i));
  }
}

void MayflyLane::PutOutputs() {
  auto* items = put_outputs_.request.mutable_items();
  ResizeItems(static_cast<int>(ids_.size()), items);
  for (size_t i = 0; i < ids_.size(); ++i) {
    v1::OutputItem* const item = items->Mutable(static_cast<int>(i));
    item->set_call_id(ids_[i]);
    item->set_attempt(1);
    item->set_outcome(v1::OUTCOME_SUCCESS);
    SetPayload(pool_->Output(first_life_ + i), item->mutable_payload());
  }
  Send(Step::kPutOutput, connection_->worker, &Async::PutOutputs, &put_outputs_);
}

void MayflyLane::ClaimOutputs() {
  v1::ClaimOutputsRequest& request = claim_.request;
  request.mutable_call_ids()->Assign(ids_.begin() + static_cast<ptrdiff_t>(claims_.size()),
                                     ids_.end());
  request.set_max_bytes(kMaxBytes);
  request.mutable_wait()->set_seconds(kClaimWaitS);
  request.set_claim_token(client::NewClaimToken());
  request.clear_acks();
  request.mutable_acks()->Swap(&kept_acks_);
  Send(Step::kTakeOutput, connection_->client, &Async::ClaimOutputs, &claim_);
}

// Outputs come in the order of the request; what did not fit is claimed by the next call.
void MayflyLane::TakeClaims() {
  const v1::ClaimOutputsResponse& response = *claim_.response;
  if (response.ended_size() > 0) {
    Die(absl::StrCat("ClaimOutputs: a call ended: ", response.ended(0).status().message()));
  }
  if (response.outputs_size() == 0) Die("ClaimOutputs: the outputs do not come");
  for (const v1::ClaimedOutput& output : response.outputs()) {
    const size_t place = claims_.size();
    if (place >= ids_.size() || output.call_id() != ids_[place]) {
      Die("ClaimOutputs: an output is missing or of another call");
    }
    const uint32_t crc32c =
        CheckPayload(Step::kTakeOutput, output.payload(), pool_->Output(first_life_ + place));
    claims_.push_back(
        {.token = claim_.request.claim_token(), .fence = output.fence(), .crc32c = crc32c});
  }
}

void MayflyLane::FillAcks(google::protobuf::RepeatedPtrField<v1::AckItem>* acks) {
  ResizeItems(static_cast<int>(ids_.size()), acks);
  for (size_t i = 0; i < ids_.size(); ++i) {
    v1::AckItem* const item = acks->Mutable(static_cast<int>(i));
    item->set_call_id(ids_[i]);
    item->set_claim_token(claims_[i].token);
    item->set_fence(claims_[i].fence);
    item->set_crc32c(claims_[i].crc32c);
  }
}

void MayflyLane::KeepAcks() {
  FillAcks(&kept_acks_);
  kept_begun_ns_ = life_begun_ns_;
}

void MayflyLane::TakeRiddenAcks() {
  if (claim_.request.acks().empty()) return;
  CheckResults(claim_.response->ack_results());
  EndLives(ids_.size(), kept_begun_ns_);
}

bool MayflyLane::SendLastAcks() {
  if (kept_acks_.empty()) return false;
  ack_.request.mutable_items()->Swap(&kept_acks_);
  kept_acks_.Clear();
  Send(Step::kEnd, connection_->client, &Async::AckOutputs, &ack_);
  return true;
}

void MayflyLane::EndLives(size_t count, int64_t begun_ns) {
  meter_.AddLives(static_cast<uint32_t>(count), begun_ns, NowNs());
}

void MayflyLane::AckOutputs() {
  FillAcks(ack_.request.mutable_items());
  Send(Step::kEnd, connection_->client, &Async::AckOutputs, &ack_);
}

template <typename Request, typename Response>
void MayflyLane::Send(Step step, const Link& link, Method<Request, Response> method,
                      Rpc<Request, Response>* rpc) {
  step_ = step;
  step_begun_ns_ = NowNs();
  if (link.session != nullptr) {
    return link.session->Send(rpc->request, [this, rpc](const v1::NumberedResponse& response) {
      Read(response, &rpc->response);
      EndStep(
          {static_cast<grpc::StatusCode>(response.status().code()), response.status().message()});
    });
  }
  context_.emplace();
  rpc->response = &rpc->of_unary;
  (link.stub->async()->*method)(&*context_, &rpc->request, &rpc->of_unary,
                                [this](const grpc::Status& status) { EndStep(status); });
}

void MayflyLane::EndStep(const grpc::Status& status) {
  if (!status.ok()) {
    Die(absl::StrCat(NameOf(step_), ": ", status.error_message(), " (code ",
                     static_cast<int>(status.error_code()), ")"));
  }
  meter_.AddStep(step_, step_begun_ns_, NowNs());
  if (!Continue()) owner_->OnBatchEnd(this);
}

template <typename Results>
void MayflyLane::CheckResults(const Results& results) const {
  if (static_cast<size_t>(results.size()) != ids_.size()) {
    Die(absl::StrCat(NameOf(step_), ": ", results.size(), " results for ", ids_.size(), " calls"));
  }
  for (const auto& result : results) {
    if (result.status().code() == 0) continue;
    Die(absl::StrCat(NameOf(step_), ": ", result.status().message(), " (code ",
                     result.status().code(), ")"));
  }
}

}  // namespace mayfly::peers
