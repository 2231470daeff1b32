#include "store/expiry.h"

#include <memory>
#include <utility>
#include <vector>

#include "base/notification.h"

namespace mayfly {

std::vector<DuePayload> Expiry::Expire(absl::Span<const DuePayload> due) {
  std::vector<Request> requests;
  std::vector<DuePayload> submitted;
  requests.reserve(due.size());
  submitted.reserve(due.size());
  for (const DuePayload& payload : due) {
    Tenant* const tenant = context_.tenants.ByNumber(payload.key.tenant);
    if (tenant == nullptr) continue;
    submitted.push_back(payload);
    requests.push_back(Request{.tenant = tenant,
                               .key = payload.key,
                               .operation = ExpirePayload{.kind = payload.kind,
                                                          .generation = payload.slot.generation,
                                                          .slot = payload.slot.slot},
                               .content = nullptr,
                               .batch = nullptr,
                               .index = requests.size()});
  }
  if (requests.empty()) return {};
  QueueLease queue = context_.quota.ReserveQueue(requests.size(), 0);
  if (queue.empty()) return submitted;
  Notification finished;
  std::vector<DuePayload> refused;
  auto batch = std::make_shared<Batch>(requests.size(), std::move(queue),
                                       [&](std::vector<OperationResult> results) {
                                         for (size_t i = 0; i < results.size(); ++i) {
                                           if (absl::IsResourceExhausted(results[i].status))
                                             refused.push_back(submitted[i]);
                                         }
                                         finished.Notify();
                                       });
  for (Request& request : requests) request.batch = batch;
  router_.Submit(std::move(requests));
  router_.Await(&finished);
  return refused;
}

}  // namespace mayfly
