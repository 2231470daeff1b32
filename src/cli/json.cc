#include "cli/json.h"

#include "absl/strings/escaping.h"

namespace mayfly::cli {
namespace {

nlohmann::json ToJson(const client::PayloadDescription& payload) {
  nlohmann::json object = {{"size_bytes", payload.size_bytes},
                           {"stored", TimeText(payload.stored)},
                           {"deadline", TimeText(payload.deadline)}};
  if (payload.attempt > 0) object["attempt"] = payload.attempt;
  return object;
}

void AddPayload(const client::Payload& payload, bool with_data, nlohmann::json* object) {
  (*object)["content_type"] = payload.content_type;
  (*object)["labels"] = payload.labels;
  if (!payload.encryption_key_id.empty()) {
    (*object)["encryption_key_id"] = payload.encryption_key_id;
  }
  if (with_data) (*object)["data_base64"] = absl::Base64Escape(payload.data);
}

// Null: there is none.
nlohmann::json QuotaToJson(uint64_t quota) {
  return quota == 0 ? nlohmann::json() : nlohmann::json(quota);
}

}  // namespace

std::string TimeText(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone());
}

nlohmann::json ToJson(const client::Stored& stored) {
  nlohmann::json object = {{"call_id", stored.call_id}};
  if (stored.deadline.has_value()) object["deadline"] = TimeText(*stored.deadline);
  return object;
}

nlohmann::json ToJson(const client::CallDescription& description) {
  nlohmann::json object = {{"call_id", description.call_id},
                           {"state", client::ToString(description.state)}};
  if (description.input.has_value()) object["input"] = ToJson(*description.input);
  if (description.output.has_value()) object["output"] = ToJson(*description.output);
  if (description.lease_end) object["lease_end"] = TimeText(*description.lease_end);
  if (description.end) object["end"] = TimeText(*description.end);
  return object;
}

nlohmann::json ToJson(const client::ServerInfo& info) {
  const client::ServerLimits& limits = info.limits;
  return {{"version", info.version},
          {"time", TimeText(info.time)},
          {"tenant", info.tenant},
          {"role", info.role},
          {"id_window", absl::FormatDuration(limits.id_window)},
          {"default_ttl", absl::FormatDuration(limits.default_ttl)},
          {"max_ttl", absl::FormatDuration(limits.max_ttl)},
          {"tombstone_ttl", absl::FormatDuration(limits.tombstone_ttl)},
          {"wait_max", absl::FormatDuration(limits.wait_max)},
          {"lease_default", absl::FormatDuration(limits.lease_default)},
          {"lease_max", absl::FormatDuration(limits.lease_max)},
          {"lease_total_max", absl::FormatDuration(limits.lease_total_max)},
          {"upload_idle_timeout", absl::FormatDuration(limits.upload_idle_timeout)},
          {"payload_bytes_max", limits.payload_bytes_max},
          {"message_bytes_max", limits.message_bytes_max},
          {"batch_items_max", limits.batch_items_max},
          {"stream_subscriptions_max", limits.stream_subscriptions_max},
          {"live_calls_max", QuotaToJson(limits.live_calls_max)},
          {"live_bytes_max", QuotaToJson(limits.live_bytes_max)},
          {"operations_per_second_max", QuotaToJson(limits.operations_per_second_max)},
          {"claims_max", QuotaToJson(limits.claims_max)},
          {"uploads_max", QuotaToJson(limits.uploads_max)}};
}

nlohmann::json ToJson(const client::StoredInput& input, bool with_data) {
  nlohmann::json object = {{"call_id", input.call_id},
                           {"deadline", TimeText(input.deadline)},
                           {"size_bytes", input.size_bytes}};
  AddPayload(input.payload, with_data, &object);
  return object;
}

nlohmann::json ToJson(const client::ClaimedOutput& output, bool with_data) {
  nlohmann::json object = {{"call_id", output.claim.call_id},
                           {"attempt", output.attempt},
                           {"outcome", client::ToString(output.outcome)},
                           {"size_bytes", output.size_bytes}};
  AddPayload(output.payload, with_data, &object);
  return object;
}

}  // namespace mayfly::cli
