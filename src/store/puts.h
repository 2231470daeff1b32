// Puts stores payloads: it reserves quota, room and a slot for each, seals it, and submits it to the
// rules.
//
// Nothing is sealed or written for a put whose reservation is refused. It is submitted all the same: it
// may be the retry of one that is stored, whose fingerprint tells. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"

#include "base/call_id.h"
#include "call/state.h"
#include "store/callback.h"
#include "store/payload.h"
#include "store/quota.h"
#include "store/router.h"

namespace mayfly {

struct NewPut {
  CallId call_id;
  PayloadKind kind = PayloadKind::kInput;
  uint32_t attempt = 0;  // outputs only, 1 or higher
  NewPayload payload;
  int64_t ttl_ms = 0;
};

struct PutResult {
  absl::Status status;
  int64_t deadline_ms = 0;  // 0 when the call was consumed since: nothing is stored
};

class Puts {
 public:
  Puts(const StoreContext& context, Router* router) : context_(context), router_(*router) {}

  // The call ids of one batch need not differ. OK means stored, by this put or an equal one.
  void Put(Tenant* tenant, std::vector<NewPut> puts, Callback<std::vector<PutResult>> done);

 private:
  struct Job;

  // The puts' reservations, and slots for those that are not refused.
  std::vector<Reservation> Reserve(Tenant* tenant, const std::vector<NewPut>& puts,
                                   std::vector<SlotLease>* leases);
  static Request MakeRequest(Tenant* tenant, const NewPut& put, int64_t now_ms,
                             Reservation reservation);
  absl::Status Seal(const NewPut& put, SlotLease* lease, Request* request);
  void Finish(Job* job, std::vector<OperationResult> results);

  const StoreContext& context_;
  Router& router_;
};

}  // namespace mayfly
