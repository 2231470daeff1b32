// What the parts of a store stand on. Made once, before the parts, and outlives them.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "absl/functional/any_invocable.h"

#include "base/executor.h"
#include "config/config.h"
#include "storage/storage.h"
#include "store/failure.h"
#include "store/group_events.h"
#include "store/id_window.h"
#include "store/leaving_payload.h"
#include "store/payload_cipher.h"
#include "store/quota.h"
#include "store/stepper.h"
#include "store/tenant.h"
#include "store/time_source.h"

namespace mayfly {

// Numbers claims: a fence is greater than every fence given before, in this run or an earlier one.
// Thread-safe.
class FenceSource {
 public:
  explicit FenceSource(uint64_t boot_number) : next_(boot_number << 40 | 1) {}
  uint64_t Next() { return next_.fetch_add(1, std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> next_;
};

struct StoreContext {
  const Config& config;
  Storage& storage;
  const PayloadCipher& cipher;
  TimeSource& time;
  Tenants& tenants;
  Quota& quota;
  Failure& failure;
  Executor& workers;
  FenceSource& fences;
  IdWindow id_window;
  int64_t lease_total_max_ms = 0;              // claims.lease_total_max
  PayloadEndListener* payload_ends = nullptr;  // may be null
  // Each is told every event (group_events.h); without any, none is made. They outlive the store.
  std::vector<GroupObserver*> observers = {};
  Stepper* stepper = nullptr;  // null: there are threads

  // With relaxed durability puts are answered before they are on the disk.
  bool syncs_puts() const { return config.storage.durability == Config::Durability::kSync; }
};

}  // namespace mayfly
