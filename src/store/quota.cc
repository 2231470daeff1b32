#include "store/quota.h"

#include "absl/time/time.h"

#include "base/error.h"
#include "store/payload_cipher.h"

namespace mayfly {
namespace {

constexpr absl::Duration kQueueRetryDelay = absl::Seconds(1);

}  // namespace

// ---- Reservation

Reservation& Reservation::operator=(Reservation&& other) noexcept {
  std::swap(ledger_, other.ledger_);
  std::swap(rows_, other.rows_);
  std::swap(has_upload_, other.has_upload_);
  std::swap(room_, other.room_);
  std::swap(refusal_, other.refusal_);
  return *this;
}

Reservation::~Reservation() {
  if (ledger_ == nullptr) return;
  if (!rows_.empty()) ledger_->Add(RowCount{} - rows_);
  if (has_upload_) ledger_->AddUploads(-1);
}

absl::Status Reservation::HoldBytes(int64_t bytes) {
  if (bytes <= rows_.bytes) return absl::OkStatus();
  RETURN_IF_ERROR(ledger_->Take({.bytes = bytes - rows_.bytes}));
  rows_.bytes = bytes;
  return absl::OkStatus();
}

// ---- QueueRoom

QueueLease::~QueueLease() {
  if (room_ != nullptr) room_->GiveBack(requests_, bytes_);
}

QueueLease QueueRoom::Reserve(uint64_t requests, uint64_t bytes) {
  const uint64_t held_requests = requests_.fetch_add(requests, std::memory_order_relaxed);
  const uint64_t held_bytes = bytes_.fetch_add(bytes, std::memory_order_relaxed);
  const bool fits =
      held_requests + requests <= limits_.requests_max && held_bytes + bytes <= limits_.bytes_max;
  if (fits || held_requests == 0) return QueueLease(this, requests, bytes);
  GiveBack(requests, bytes);
  return QueueLease();
}

absl::Status QueueRoom::Refusal() {
  return WithRetryDelay(MakeError(absl::StatusCode::kResourceExhausted, Reason::kOverloaded,
                                  "the server has more work queued than it will hold"),
                        kQueueRetryDelay);
}

void QueueRoom::GiveBack(uint64_t requests, uint64_t bytes) {
  requests_.fetch_sub(requests, std::memory_order_relaxed);
  bytes_.fetch_sub(bytes, std::memory_order_relaxed);
}

// ---- Quota

Reservation Quota::Reserve(Tenant* tenant, const RowCount& rows, uint64_t room_bytes) {
  absl::Status taken = tenant->ledger.Take(rows);
  if (!taken.ok()) return Reservation(std::move(taken));
  Reservation reservation;
  reservation.ledger_ = &tenant->ledger;
  reservation.rows_ = rows;
  if (room_bytes == 0) return reservation;
  reservation.room_ = storage_.ReserveRoom(room_bytes);
  if (reservation.room_.empty()) return Reservation(storage_.RoomRefusal(room_bytes));
  return reservation;
}

Reservation Quota::ReservePut(Tenant* tenant, PayloadKind kind, const NewPayload& payload) {
  const RowCount rows = {.calls = kind == PayloadKind::kInput ? 1 : 0,
                         .bytes = static_cast<int64_t>(payload.data.size())};
  return Reserve(tenant, rows, RoomFor(payload));
}

Reservation Quota::ReserveFinish(Tenant* tenant, PayloadKind kind, uint64_t row_bytes,
                                 bool has_segments) {
  const RowCount rows = {.calls = kind == PayloadKind::kInput ? 1 : 0};
  const uint64_t room_bytes = RoomBudget::CostOfRow(row_bytes);
  if (!has_segments) return Reserve(tenant, rows, room_bytes);
  Reservation reservation = Reserve(tenant, rows, 0);
  if (!reservation.is_refused()) reservation.room_ = storage_.ClaimRoom(room_bytes);
  return reservation;
}

Reservation Quota::ReserveUpload(Tenant* tenant, uint64_t announced_bytes) {
  absl::Status taken = tenant->ledger.TakeUpload();
  if (!taken.ok()) return Reservation(std::move(taken));
  Reservation reservation;
  reservation.ledger_ = &tenant->ledger;
  reservation.has_upload_ = true;
  absl::Status held = reservation.HoldBytes(static_cast<int64_t>(announced_bytes));
  if (!held.ok()) return Reservation(std::move(held));
  return reservation;
}

Reservation Quota::HoldUpload(Tenant* tenant, uint64_t bytes) {
  Reservation reservation;
  reservation.ledger_ = &tenant->ledger;
  reservation.has_upload_ = true;
  reservation.rows_.bytes = static_cast<int64_t>(bytes);
  tenant->ledger.AddUploads(1);
  tenant->ledger.Add(reservation.rows_);
  return reservation;
}

uint64_t Quota::RoomFor(const NewPayload& payload) {
  const uint64_t data_bytes = payload.data.size();
  const uint64_t metadata_bytes = SizeOf(payload.metadata);
  if (data_bytes <= kInlineBytesMax) return RoomBudget::CostOfRow(data_bytes + metadata_bytes);
  const uint64_t segment_count = (data_bytes - 1) / kSegmentBytes + 1;
  return RoomBudget::CostOfSegment(data_bytes) +
         (segment_count - 1) * RoomBudget::CostOfSegment(0) + RoomBudget::CostOfRow(metadata_bytes);
}

uint64_t Quota::RowBytesOf(const NewPayload& payload) {
  const uint64_t data_bytes = payload.data.size() <= kInlineBytesMax ? payload.data.size() : 0;
  return data_bytes + SizeOf(payload.metadata);
}

}  // namespace mayfly
