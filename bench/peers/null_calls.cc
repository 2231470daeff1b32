#include "null_calls.h"

#include <utility>

#include "absl/hash/hash.h"
#include <grpcpp/support/status_code_enum.h>

namespace mayfly::peers {
namespace {

template <typename Request, typename Response>
void PutAll(const Request& request, PayloadMap* payloads, Response* response) {
  for (const auto& item : request.items()) {
    payloads->Put(item.call_id(), item.payload());
    response->add_results()->set_call_id(item.call_id());
  }
}

}  // namespace

void PayloadMap::Put(const std::string& call_id, const v1::Payload& payload) {
  StoredPayload stored = {.data = payload.data(), .crc32c = payload.crc32c()};
  Shard& shard = ShardOf(call_id);
  MutexLock lock(&shard.mutex);
  shard.payloads.insert_or_assign(call_id, std::move(stored));
}

bool PayloadMap::Get(const std::string& call_id, v1::Payload* out) {
  Shard& shard = ShardOf(call_id);
  MutexLock lock(&shard.mutex);
  const auto found = shard.payloads.find(call_id);
  if (found == shard.payloads.end()) return false;
  out->set_data(found->second.data);
  out->set_crc32c(found->second.crc32c);
  return true;
}

void PayloadMap::Erase(const std::string& call_id) {
  Shard& shard = ShardOf(call_id);
  MutexLock lock(&shard.mutex);
  shard.payloads.erase(call_id);
}

PayloadMap::Shard& PayloadMap::ShardOf(const std::string& call_id) {
  return shards_[absl::Hash<std::string>()(call_id) % shards_.size()];
}

void NullCalls::Answer(const v1::PutInputsRequest& request, v1::PutInputsResponse* response) {
  PutAll(request, &inputs_, response);
}

void NullCalls::Answer(const v1::GetInputsRequest& request, v1::GetInputsResponse* response) {
  for (const std::string& call_id : request.call_ids()) {
    v1::GetInputResult* const result = response->add_results();
    result->set_call_id(call_id);
    if (!inputs_.Get(call_id, result->mutable_payload())) {
      result->mutable_status()->set_code(grpc::StatusCode::NOT_FOUND);
    }
    result->set_size_bytes(result->payload().data().size());
  }
}

void NullCalls::Answer(const v1::PutOutputsRequest& request, v1::PutOutputsResponse* response) {
  PutAll(request, &outputs_, response);
}

void NullCalls::Answer(const v1::ClaimOutputsRequest& request, v1::ClaimOutputsResponse* response) {
  for (const v1::AckItem& item : request.acks()) End(item, response->add_ack_results());
  for (const std::string& call_id : request.call_ids()) {
    v1::ClaimedOutput* const output = response->add_outputs();
    output->set_call_id(call_id);
    output->set_attempt(1);
    output->set_outcome(v1::OUTCOME_SUCCESS);
    output->set_fence(1);
    if (outputs_.Get(call_id, output->mutable_payload())) {
      output->set_size_bytes(output->payload().data().size());
      continue;
    }
    response->mutable_outputs()->RemoveLast();
    response->set_pending_count(response->pending_count() + 1);
  }
}

void NullCalls::Answer(const v1::AckOutputsRequest& request, v1::AckOutputsResponse* response) {
  for (const v1::AckItem& item : request.items()) End(item, response->add_results());
}

void NullCalls::End(const v1::AckItem& item, v1::AckResult* result) {
  inputs_.Erase(item.call_id());
  outputs_.Erase(item.call_id());
  result->set_call_id(item.call_id());
}

}  // namespace mayfly::peers
