#include "rpc/server_info.h"

#include "absl/time/time.h"

#include "base/version.h"
#include "rpc/answer.h"

namespace mayfly {
namespace {

void WriteDuration(absl::Duration duration, google::protobuf::Duration* wire) {
  wire->set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &duration));
  wire->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(duration)));
}

void WriteLimits(const Config& config, const Tenant& tenant, v1::ServerLimits* wire) {
  const TenantPolicy& policy = tenant.policy();
  const QuotaLimits& limits = tenant.ledger.limits();
  WriteDuration(config.limits.id_window, wire->mutable_id_window());
  WriteDuration(policy.retention.default_ttl, wire->mutable_default_ttl());
  WriteDuration(policy.retention.max_ttl, wire->mutable_max_ttl());
  WriteDuration(policy.retention.tombstone_ttl, wire->mutable_tombstone_ttl());
  WriteDuration(config.claims.wait_max, wire->mutable_wait_max());
  WriteDuration(config.claims.lease_default, wire->mutable_lease_default());
  WriteDuration(config.claims.lease_max, wire->mutable_lease_max());
  WriteDuration(config.claims.lease_total_max, wire->mutable_lease_total_max());
  WriteDuration(config.limits.upload_idle_timeout, wire->mutable_upload_idle_timeout());
  wire->set_payload_bytes_max(config.limits.payload_bytes_max);
  wire->set_message_bytes_max(config.limits.message_bytes_max);
  wire->set_batch_items_max(config.limits.batch_items_max);
  wire->set_stream_subscriptions_max(limits.stream_subscriptions_max);
  wire->set_live_calls_max(limits.live_calls_max);
  wire->set_live_bytes_max(limits.live_bytes_max);
  wire->set_operations_per_second_max(limits.operations_per_second_max);
  wire->set_claims_max(limits.claims_max);
  wire->set_uploads_max(limits.uploads_max);
}

}  // namespace

void WriteServerInfo(const Config& config, const Admitted& caller,
                     v1::GetServerInfoResponse* response) {
  response->set_version(kVersion);
  WriteTime(caller.store->SteadyMs(), response->mutable_server_time());
  response->set_tenant(caller.tenant->name);
  const absl::string_view role = RoleName(caller.role);
  response->set_role(role.data(), role.size());
  WriteLimits(config, *caller.tenant, response->mutable_limits());
}

}  // namespace mayfly
