// Puts stores payloads: it takes a slot and room for each, seals it, and submits it to the rules.
//
// Without room on the disk a payload is sealed all the same, and nothing of it is written: the put may
// be the retry of one that is stored, which its fingerprint tells. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"

#include "base/call_id.h"
#include "call/state.h"
#include "store/callback.h"
#include "store/payload.h"
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

  // What storing it takes on the disk.
  static uint64_t RoomFor(const NewPayload& payload);
  absl::Status Seal(Tenant* tenant, const NewPut& put, SlotLease* lease, int64_t now_ms,
                    Request* request);
  void Finish(Job* job, std::vector<OperationResult> results);

  const StoreContext& context_;
  Router& router_;
};

}  // namespace mayfly
