// The Quota of a store gives out what work may take, before the work is done: the tenant's calls and
// bytes and uploads (tenant_ledger.h), room on the disk (storage/room.h), and room in the shards' queues.
//
//   Reservation reserved = quota.ReservePut(tenant, kind, payload);   // nothing is sealed yet
//   if (reserved.is_refused()) ...                                    // it can only be a repetition
//   reserved.Spend();                                                 // stored: its rows are used now
//
// A Reservation gives back what was not spent when it is destroyed. A refused one holds nothing. Only a
// put that would store something is refused for that: the group asks when the rules have decided
// (shard/group.cc). So the repetition of a stored put is answered OK when a limit is reached. Queue room
// is the exception, since without it no rule can be asked: see QueueLease.
//
// Thread-safe. A Reservation is not; it belongs to whoever works on its request.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"

#include "call/state.h"
#include "storage/room.h"
#include "storage/storage.h"
#include "store/payload.h"
#include "store/tenant.h"

namespace mayfly {

class Reservation {
 public:
  // Holds nothing, and refuses nothing.
  Reservation() = default;
  // Refused: holds nothing.
  explicit Reservation(absl::Status refusal) : refusal_(std::move(refusal)) {}
  Reservation(Reservation&& other) noexcept { *this = std::move(other); }
  Reservation& operator=(Reservation&& other) noexcept;
  ~Reservation();

  bool is_refused() const { return !refusal_.ok(); }
  const absl::Status& refusal() const { return refusal_; }

  // Holds so many of the tenant's bytes from now on, if it holds fewer. QUOTA_BYTES; then it holds what
  // it held.
  absl::Status HoldBytes(int64_t bytes);
  // The rows are used by what was stored, and not given back. Returns them. Room stays held until the
  // put is written and answered.
  RowCount Spend() { return std::exchange(rows_, {}); }

 private:
  friend class Quota;

  TenantLedger* ledger_ = nullptr;
  RowCount rows_;
  bool has_upload_ = false;
  RoomLease room_;
  absl::Status refusal_;
};

class QueueRoom;

// Requests of one batch, from before they are made until they are answered. An empty one holds nothing:
// there was no room.
class QueueLease {
 public:
  QueueLease() = default;
  QueueLease(QueueRoom* room, uint64_t requests, uint64_t bytes)
      : room_(room), requests_(requests), bytes_(bytes) {}
  QueueLease(QueueLease&& other) noexcept
      : room_(std::exchange(other.room_, nullptr)),
        requests_(other.requests_),
        bytes_(other.bytes_) {}
  QueueLease& operator=(QueueLease&& other) noexcept {
    std::swap(room_, other.room_);
    std::swap(requests_, other.requests_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~QueueLease();

  bool empty() const { return room_ == nullptr; }

 private:
  QueueRoom* room_ = nullptr;
  uint64_t requests_ = 0;
  uint64_t bytes_ = 0;
};

// Bounds the requests that the shards have not answered, and the bytes of their rows.
class QueueRoom {
 public:
  struct Limits {
    uint64_t requests_max = 0;
    uint64_t bytes_max = 0;
  };

  explicit QueueRoom(const Limits& limits) : limits_(limits) {}

  // Empty when there is no room. A batch of any size has room while nothing else is held.
  QueueLease Reserve(uint64_t requests, uint64_t bytes);
  // RESOURCE_EXHAUSTED (OVERLOADED), with a retry delay.
  static absl::Status Refusal();

  uint64_t requests() const { return requests_.load(std::memory_order_relaxed); }
  uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  friend class QueueLease;

  void GiveBack(uint64_t requests, uint64_t bytes);

  const Limits limits_;
  std::atomic<uint64_t> requests_{0};
  std::atomic<uint64_t> bytes_{0};
};

class Quota {
 public:
  // How much each shard may have unanswered.
  static constexpr uint64_t kShardRequestsMax = 64 << 10;
  static constexpr uint64_t kShardBytesMax = 256 << 20;

  // `storage` outlives it.
  Quota(Storage* storage, uint64_t shard_count)
      : storage_(*storage),
        queue_({.requests_max = shard_count * kShardRequestsMax,
                .bytes_max = shard_count * kShardBytesMax}) {}

  // QUOTA_CALLS, QUOTA_BYTES, DISK_FULL or OVERLOADED when it is refused.
  Reservation ReservePut(Tenant* tenant, PayloadKind kind, const NewPayload& payload);
  // The put that ends an upload, whose bytes the upload's own reservation holds. One with segments has
  // room in any case: its row takes next to nothing, and its segments would else lie there until they
  // are swept.
  Reservation ReserveFinish(Tenant* tenant, PayloadKind kind, uint64_t row_bytes,
                            bool has_segments);

  // One upload. QUOTA_UPLOADS, QUOTA_BYTES.
  Reservation ReserveUpload(Tenant* tenant, uint64_t announced_bytes);
  // One that is there already, whatever the limits say.
  Reservation HoldUpload(Tenant* tenant, uint64_t bytes);

  // Room on the disk. Empty when there is none: then RoomRefusal says what is missing.
  RoomLease ReserveRoom(uint64_t bytes) { return storage_.ReserveRoom(bytes); }
  absl::Status RoomRefusal(uint64_t bytes) const { return storage_.RoomRefusal(bytes); }

  QueueLease ReserveQueue(uint64_t requests, uint64_t bytes) {
    return queue_.Reserve(requests, bytes);
  }

  // What storing it takes on the disk, and in a shard's queue.
  static uint64_t RoomFor(const NewPayload& payload);
  static uint64_t RowBytesOf(const NewPayload& payload);

 private:
  Reservation Reserve(Tenant* tenant, const RowCount& rows, uint64_t room_bytes);

  Storage& storage_;
  QueueRoom queue_;
};

}  // namespace mayfly
