#include "rpc/session_subscription.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/bound.h"
#include "base/error.h"
#include "rpc/answer.h"
#include "rpc/range_check.h"
#include "rpc/status.h"
#include "rpc/validation.h"

namespace mayfly {
namespace {

int EntryCountOf(const v1::SubscriptionResponse& response) {
  return response.outputs_size() + response.ended_size();
}

}  // namespace

// ---- Messages

void SessionSubscription::Handle(const v1::SubscriptionRequest& request) {
  std::shared_ptr<Subscription> opened = subscription();
  absl::Status status = CheckCounts(request);
  if (status.ok() && request.has_open() == (opened != nullptr)) {
    status = FieldError("open", request.has_open() ? "repeated" : "missing",
                        "expected in the first message of a subscription only");
  }
  if (status.ok() && request.has_open()) status = Open(request);
  opened = subscription();
  if (status.ok() && opened != nullptr) status = Change(opened.get(), request);
  if (!status.ok()) return End(status);
  if (!request.has_end()) return;
  if (!request.end().keep_claims()) return End(absl::OkStatus());
  if (opened != nullptr) opened->Stop(absl::CancelledError());
}

absl::Status SessionSubscription::CheckCounts(const v1::SubscriptionRequest& request) const {
  const CountRange range = {.max = surroundings_.config->limits.batch_items_max, .unit = "calls"};
  RETURN_IF_ERROR(CheckLength("subscribe_call_ids", request.subscribe_call_ids_size(), range));
  return CheckLength("unsubscribe_call_ids", request.unsubscribe_call_ids_size(), range);
}

absl::Status SessionSubscription::Open(const v1::SubscriptionRequest& request) {
  auto read = ReadSubscriptionOpen(request.open(), *surroundings_.config);
  RETURN_IF_ERROR(read.status());
  read->taker = surroundings_.taker;
  // The Subscription and this own each other until the Subscription has ended.
  auto opened = surroundings_.store->Subscribe(
      surroundings_.tenant, *read,
      [self = shared_from_this()](Delivery delivery) { self->OnDelivery(std::move(delivery)); });
  bool is_late = false;
  {
    MutexLock lock(&mutex_);
    is_late = is_ending_;
    if (!is_late) subscription_ = opened;
  }
  // Ended meanwhile, without anything to release.
  if (is_late) opened->End(ClaimsAtEnd::kRelease, [] {});
  return absl::OkStatus();
}

absl::Status SessionSubscription::Change(Subscription* subscription,
                                         const v1::SubscriptionRequest& request) {
  if (request.has_credit()) {
    subscription->Grant(request.credit().item_count(), request.credit().bytes());
  }
  const std::vector<CallId> removed =
      ReadIds(request.unsubscribe_call_ids(), "unsubscribe_call_ids");
  if (!removed.empty()) subscription->Remove(removed);
  const std::vector<CallId> added = ReadIds(request.subscribe_call_ids(), "subscribe_call_ids");
  if (added.empty() || subscription->Add(added)) return absl::OkStatus();
  const uint64_t limit = surroundings_.config->limits.stream_subscriptions_max;
  // Calls may have ended since.
  const uint64_t wanted = std::max(subscription->call_count() + added.size(), limit + 1);
  return WithBound(FieldError("subscribe_call_ids", "more than one subscription may have",
                              absl::StrCat("limit is ", limit)),
                   BoundOf(wanted, {.max = limit, .unit = "calls"}));
}

// Malformed ids are reported as ended calls, as in ClaimOutputs.
std::vector<CallId> SessionSubscription::ReadIds(
    const google::protobuf::RepeatedPtrField<std::string>& texts, absl::string_view list) {
  std::vector<CallId> call_ids;
  call_ids.reserve(texts.size());
  bool has_malformed = false;
  for (int i = 0; i < texts.size(); ++i) {
    const auto call_id = ReadCallId(texts[i], {.list = list, .index = i});
    if (call_id.ok()) {
      call_ids.push_back(*call_id);
      continue;
    }
    has_malformed = true;
    MutexLock lock(&mutex_);
    Part* const part = PartFor(0);
    WriteMalformedCall(texts[i], call_id.status(), surroundings_.log, part->response.add_ended());
    ++part->malformed_count;
    ++malformed_count_;
  }
  if (has_malformed) on_change_();
  return call_ids;
}

std::shared_ptr<Subscription> SessionSubscription::subscription() {
  MutexLock lock(&mutex_);
  return subscription_;
}

bool SessionSubscription::IsBehind() {
  const auto opened = subscription();
  return opened != nullptr && opened->IsBehind();
}

bool SessionSubscription::HasTooMuchToTell() {
  MutexLock lock(&mutex_);
  return malformed_count_ >= kMalformedMax;
}

void SessionSubscription::Retry() {
  if (const auto opened = subscription()) opened->Retry();
}

// ---- Deliveries

void SessionSubscription::OnDelivery(Delivery delivery) {
  std::vector<uint64_t> returned;
  {
    MutexLock lock(&mutex_);
    for (ClaimedOutput& output : delivery.outputs) {
      const bool has_payload = output.payload.has_value();
      const uint64_t bytes = has_payload ? output.stored.size_bytes : 0;
      const uint64_t generation = output.stored.slot.generation;
      if (is_ending_) {
        if (has_payload) returned.push_back(generation);
        continue;
      }
      Part* const part = PartFor(bytes);
      ++part->told_count;
      part->told_bytes += bytes;
      if (has_payload) part->payloads.push_back(generation);
      WriteClaimedOutput(std::move(output), part->response.add_outputs());
    }
    if (!is_ending_) {
      for (const EndedCall& ended : delivery.ended) {
        Part* const part = PartFor(0);
        ++part->told_count;
        WriteEndedCall(ended, surroundings_.log, part->response.add_ended());
      }
    }
  }
  ReturnAll(returned);
  // The last delivery.
  if (!delivery.status.ok()) {
    return EndWith(absl::IsCancelled(delivery.status) ? absl::OkStatus() : delivery.status,
                   ClaimsAtEnd::kKeep);
  }
  on_change_();
}

void SessionSubscription::ReturnAll(const std::vector<uint64_t>& payloads) {
  for (const uint64_t generation : payloads) surroundings_.taker->Return(generation);
}

SessionSubscription::Part* SessionSubscription::PartFor(uint64_t payload_bytes) {
  const bool has_room =
      !parts_.empty() && EntryCountOf(parts_.back().response) < kPartEntriesMax &&
      (payload_bytes == 0 || parts_.back().bytes + payload_bytes <= kPartBytesMax);
  if (!has_room) {
    parts_.emplace_back();
    parts_.back().response.set_number(number_);
  }
  parts_.back().bytes += payload_bytes;
  return &parts_.back();
}

// ---- Writing

uint64_t SessionSubscription::next_bytes() {
  MutexLock lock(&mutex_);
  if (!parts_.empty()) return std::max<uint64_t>(1, parts_.front().bytes);
  return is_ending_ && is_released_ && !end_is_taken_ ? 1 : 0;
}

void SessionSubscription::TakePart(v1::SubscriptionResponse* response) {
  MutexLock lock(&mutex_);
  if (parts_.empty()) {
    response->set_number(number_);
    *response->mutable_end() = ToWireStatus(end_, surroundings_.log);
    end_is_taken_ = true;
    return;
  }
  Part& part = parts_.front();
  *response = std::move(part.response);
  written_.malformed_count += part.malformed_count;
  written_.told_count += part.told_count;
  written_.told_bytes += part.told_bytes;
  written_.payloads.insert(written_.payloads.end(), part.payloads.begin(), part.payloads.end());
  parts_.pop_front();
}

void SessionSubscription::OnWritten() {
  Part written;
  std::shared_ptr<Subscription> opened;
  {
    MutexLock lock(&mutex_);
    written = std::exchange(written_, {});
    malformed_count_ -= written.malformed_count;
    opened = subscription_;
  }
  ReturnAll(written.payloads);
  if (written.told_count > 0) {
    opened->Sent(static_cast<uint64_t>(written.told_count), written.told_bytes);
  }
}

// ---- The end

void SessionSubscription::Drain() {
  if (const auto opened = subscription()) return opened->Stop(absl::OkStatus());
  End(DrainingError());
}

void SessionSubscription::Abandon() {
  std::vector<uint64_t> returned;
  {
    MutexLock lock(&mutex_);
    is_abandoned_ = true;
    returned = DropOutputs();
  }
  ReturnAll(returned);
  EndWith(absl::CancelledError(), ClaimsAtEnd::kAwait);
  // It may have ended before, and only the end was not taken yet.
  on_change_();
}

void SessionSubscription::EndWith(const absl::Status& status, ClaimsAtEnd claims) {
  std::shared_ptr<Subscription> ended;
  std::vector<uint64_t> dropped;
  {
    MutexLock lock(&mutex_);
    if (claims == ClaimsAtEnd::kRelease) dropped = DropOutputs();
    if (std::exchange(is_ending_, true)) return ReturnAll(dropped);
    end_ = status;
    ended = subscription_;
    is_released_ = ended == nullptr;
  }
  ReturnAll(dropped);
  if (ended == nullptr) return on_change_();
  ended->End(claims, [self = shared_from_this()] {
    {
      MutexLock lock(&self->mutex_);
      self->is_released_ = true;
    }
    self->on_change_();
  });
}

std::vector<uint64_t> SessionSubscription::DropOutputs() {
  std::vector<uint64_t> payloads;
  for (Part& part : parts_) {
    payloads.insert(payloads.end(), part.payloads.begin(), part.payloads.end());
    part.payloads.clear();
    part.response.clear_outputs();
    part.bytes = 0;
  }
  return payloads;
}

bool SessionSubscription::is_over() {
  MutexLock lock(&mutex_);
  return is_ending_ && is_released_ && (end_is_taken_ || is_abandoned_);
}

}  // namespace mayfly
