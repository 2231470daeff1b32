#include "store/shard/claim_table.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "call/apply.h"

namespace mayfly {

const Claim* ClaimTable::Find(const CallKey& key) const {
  const auto found = claims_.find(key);
  return found == claims_.end() ? nullptr : &found->second.claim;
}

void ClaimTable::Add(const CallKey& key, const Claim& claim, ClaimLease quota) {
  auto [place, is_new] = claims_.try_emplace(key);
  if (!is_new) {
    Erase(key);
    place = claims_.try_emplace(key).first;
  }
  Record& record = place->second;
  record.claim = claim;
  record.quota = std::move(quota);
  key_by_fence_[claim.fence] = key;
  ScheduleLapse(&record, claim.claimed_ms);
}

bool ClaimTable::Update(const CallKey& key, const std::optional<Claim>& before,
                        const std::optional<Claim>& after) {
  if (before == after) return false;
  if (after) {
    // Renewed. Its timer stays: when it comes up, the lease is looked at again.
    Check(before && before->fence == after->fence, "a new claim is added with its quota");
    claims_.at(key).claim = *after;
    return false;
  }
  Erase(key);
  return true;
}

void ClaimTable::Erase(const CallKey& key) {
  const auto found = claims_.find(key);
  Check(found != claims_.end(), "a claim in a state is in the table");
  const Record& record = found->second;
  if (record.timer) wheel_.Cancel(*record.timer);
  key_by_fence_.erase(record.claim.fence);
  ForgetHolder(record);
  claims_.erase(found);
}

void ClaimTable::NoteSent(const SentOutput& sent) {
  const auto found = claims_.find(sent.key);
  if (found == claims_.end() || found->second.claim.fence != sent.fence) return;
  found->second.claim.crc32c = sent.crc32c;
}

void ClaimTable::SetHolder(const CallKey& key, const Claimant* holder) {
  Record& record = claims_.at(key);
  if (record.holder == holder) return;
  ForgetHolder(record);
  record.holder = holder;
  fences_by_holder_[holder].insert(record.claim.fence);
}

void ClaimTable::ForgetHolder(const Record& record) {
  if (record.holder == nullptr) return;
  const auto held = fences_by_holder_.find(record.holder);
  held->second.erase(record.claim.fence);
  if (held->second.empty()) fences_by_holder_.erase(held);
}

void ClaimTable::ReplaceHolder(const Claimant* holder, const Claimant* by) {
  const auto held = fences_by_holder_.find(holder);
  if (held == fences_by_holder_.end() || by == holder) return;
  const absl::flat_hash_set<uint64_t> fences = std::move(held->second);
  fences_by_holder_.erase(held);
  for (const uint64_t fence : fences) claims_.at(key_by_fence_.at(fence)).holder = by;
  if (by != nullptr) fences_by_holder_[by].insert(fences.begin(), fences.end());
}

std::vector<CallKey> ClaimTable::EndClaimsOf(const Claimant* holder) {
  std::vector<CallKey> keys;
  const auto held = fences_by_holder_.find(holder);
  if (held == fences_by_holder_.end()) return keys;
  // Erase takes them out of the set one by one.
  for (const uint64_t fence : held->second) keys.push_back(key_by_fence_.at(fence));
  for (const CallKey& key : keys) Erase(key);
  return keys;
}

void ClaimTable::ScheduleLapse(Record* record, int64_t now_ms) {
  const int64_t deadline_ms =
      std::min(std::max(record->claim.lease_end_ms, now_ms), wheel_.horizon_ms());
  record->timer = wheel_.Schedule(deadline_ms, record->claim.fence);
}

std::vector<CallKey> ClaimTable::TakeLapsed(const Now& now) {
  std::vector<CallKey> keys;
  std::vector<uint64_t> due;
  wheel_.Advance(now.elapsed_ms, kLapsesMax, &due);
  for (const uint64_t fence : due) {
    const auto found = key_by_fence_.find(fence);
    if (found == key_by_fence_.end()) continue;
    const CallKey key = found->second;
    Record& record = claims_.at(key);
    record.timer.reset();
    if (HasLapsed(record.claim, now)) {
      Erase(key);
      keys.push_back(key);
    } else {
      ScheduleLapse(&record, now.elapsed_ms);
    }
  }
  return keys;
}

}  // namespace mayfly
