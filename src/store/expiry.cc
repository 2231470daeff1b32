#include "store/expiry.h"

#include <memory>
#include <utility>
#include <vector>

#include "base/notification.h"

namespace mayfly {

void Expiry::Expire(absl::Span<const DuePayload> due) {
  std::vector<Request> requests;
  requests.reserve(due.size());
  for (const DuePayload& payload : due) {
    Tenant* const tenant = context_.tenants.ByNumber(payload.key.tenant);
    if (tenant == nullptr) continue;
    requests.push_back(Request{.tenant = tenant,
                               .key = payload.key,
                               .operation = ExpirePayload{.kind = payload.kind,
                                                          .generation = payload.slot.generation,
                                                          .slot = payload.slot.slot},
                               .content = nullptr,
                               .batch = nullptr,
                               .index = requests.size()});
  }
  if (requests.empty()) return;
  Notification finished;
  auto batch = std::make_shared<Batch>(
      requests.size(), [&finished](std::vector<OperationResult>) { finished.Notify(); });
  for (Request& request : requests) request.batch = batch;
  router_.Submit(std::move(requests));
  finished.WaitForNotification();
}

}  // namespace mayfly
