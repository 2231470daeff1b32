#include "store/upkeep.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <pthread.h>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/locked_memory.h"
#include "call/apply.h"

namespace mayfly {
namespace {

constexpr absl::Duration kSweepPause = absl::Milliseconds(100);
constexpr absl::Duration kMaintenancePause = absl::Milliseconds(200);
constexpr int64_t kRowsSyncMs = 1'000;
constexpr int64_t kClockRecordMs = 5'000;
constexpr int64_t kKeysMs = 60'000;
constexpr int64_t kScrubMs = 3'600'000;
// What is due for longer than this was missed by the sweep, and is offered again.
constexpr int64_t kStragglerS = 60;
// While more is due, the sweep rests so many times as long as it has worked, until it is so far
// behind.
constexpr int kRestPerWork = 3;
constexpr int64_t kRestLagMs = 60'000;
// A sweep that is so far behind is reported when it is so for some rounds: after a suspended
// machine wakes up, the first of them may come before the sweep's.
constexpr int64_t kSweepLagMs = 2 * kRestLagMs;
constexpr int kSweepLagRounds = 5;
constexpr int64_t kDayMs = 86'400'000;
constexpr int64_t kLastSecond = int64_t{1} << 40;
constexpr size_t kPageMax = 4096;

}  // namespace

Upkeep::~Upkeep() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  stop_.NotifyAll();
  for (std::thread& thread : threads_) thread.join();
}

void Upkeep::StartThreads() {
  threads_.emplace_back([this] { RunSweep(); });
  pthread_setname_np(threads_.back().native_handle(), "sweep");
  threads_.emplace_back([this] { RunMaintenance(); });
  pthread_setname_np(threads_.back().native_handle(), "maintenance");
}

bool Upkeep::Pause(absl::Duration duration) {
  MutexLock lock(&mutex_);
  if (!stopping_ && duration > absl::ZeroDuration()) stop_.WaitFor(&mutex_, duration);
  return !stopping_;
}

void Upkeep::RunSweep() {
  using Monotonic = std::chrono::steady_clock;
  absl::Duration pause = absl::ZeroDuration();
  while (Pause(pause)) {
    const Monotonic::time_point start = Monotonic::now();
    const bool has_more = Sweep();
    const absl::Duration worked = absl::FromChrono(Monotonic::now() - start);
    pause = has_more ? RestAfter(worked) : kSweepPause;
  }
}

// Nobody can open what is due any more, so its removal leaves most of the time to callers, unless
// it falls behind for good.
absl::Duration Upkeep::RestAfter(absl::Duration worked) {
  if (sweeper_.lag_ms(context_.time.Read()) > kRestLagMs) return absl::ZeroDuration();
  return std::min(kRestPerWork * worked, kSweepPause);
}

void Upkeep::RunMaintenance() {
  do {
    Maintain();
  } while (Pause(kMaintenancePause));
}

bool Upkeep::Sweep() {
  const Now now = context_.time.Read();
  CloseSeconds(now);
  const auto has_more = sweeper_.Advance(now);
  if (!has_more.ok() && !sweep_failed_) {
    Log(Config::LogLevel::kError, "the sweep cannot read what is due", has_more.status());
  }
  sweep_failed_ = !has_more.ok();
  return has_more.ok() && *has_more;
}

// Before anything due in them is swept: from then on nobody can open it, however long the sweep
// takes.
void Upkeep::CloseSeconds(const Now& now) {
  const absl::Status status = context_.storage.keyring()->Close(now.erase_ms);
  if (!status.ok()) OnKeyringError("cannot close seconds that are over", status);
}

bool Upkeep::IsTime(int64_t now_ms, int64_t period_ms, int64_t* last_ms) {
  // Steady time may be anchored anew, either way.
  if (*last_ms != 0 && now_ms >= *last_ms && now_ms - *last_ms < period_ms) return false;
  *last_ms = now_ms;
  return true;
}

void Upkeep::Maintain() {
  // RocksDB's own threads fail without a caller to tell; an idle store would go on for ever.
  context_.failure.Report(context_.storage.Health());
  const Now now = context_.time.Read();
  ReportClocks(now);
  ReportSweepLag(now);
  ApplyPostponedRetention(now);
  if (IsTime(now.steady_ms, kRowsSyncMs, &synced_ms_)) {
    SyncRows();
    uploads_.Sweep();
    subscriptions_.EndWaits(now.elapsed_ms);
  }
  if (IsTime(now.steady_ms, kClockRecordMs, &recorded_ms_)) {
    const absl::Status status = context_.time.Persist();
    if (!status.ok()) Log(Config::LogLevel::kWarning, "cannot write the clock record", status);
  }
  if (IsTime(now.steady_ms, kKeysMs, &kept_ms_)) MaintainKeys(now);
  if (IsTime(now.steady_ms, kScrubMs, &scrubbed_ms_)) {
    RemoveOrphans();
    SweepStragglers(now);
  }
}

void Upkeep::SyncRows() {
  // Costs nothing when nothing was written since the last sync.
  absl::Status status = context_.storage.Sync();
  if (status.ok()) status = context_.storage.SyncRecord();
  context_.failure.Report(status);
}

void Upkeep::ReportClocks(const Now& now) {
  if (const bool waits = now.erase_ms == Now::kNeverMs; waits != waits_for_clock_) {
    waits_for_clock_ = waits;
    if (waits) {
      on_log_(
          Config::LogLevel::kWarning,
          absl::StrCat("no time service has synchronised the clock since the machine started: "
                       "payloads are erased when one has, at most retention.clock_jump_grace (",
                       absl::FormatDuration(context_.config.retention.clock_jump_grace),
                       ") from then on; until then they cannot be read past their deadline, and "
                       "are not erased"));
    } else {
      on_log_(Config::LogLevel::kInfo, "the clock is trusted: what is past its deadline is erased");
    }
  }
  const auto disagreement = context_.time.disagreement();
  if (disagreement.has_value() == clocks_disagreed_) return;
  clocks_disagreed_ = disagreement.has_value();
  if (clocks_disagreed_) {
    on_log_(
        Config::LogLevel::kWarning,
        absl::StrCat("the clocks disagree: the wall clock is ", absl::FormatDuration(*disagreement),
                     " ahead of steady time; nothing is erased before both say so"));
  } else {
    on_log_(Config::LogLevel::kInfo, "the clocks agree again");
  }
}

void Upkeep::ReportSweepLag(const Now& now) {
  const bool may_erase = now.erase_ms != Now::kNeverMs;
  // Clocks that disagree hold the sweep back, which is reported elsewhere.
  const int64_t lag_ms = may_erase ? sweeper_.lag_ms(now) - (now.read_ms - now.erase_ms) : 0;
  if (lag_ms < kSweepLagMs) {
    if (std::exchange(late_rounds_, 0) >= kSweepLagRounds) {
      on_log_(Config::LogLevel::kInfo, "the sweep has caught up");
    }
    return;
  }
  if (++late_rounds_ != kSweepLagRounds) return;
  const std::string lag = lag_ms < kDayMs ? absl::FormatDuration(absl::Milliseconds(lag_ms))
                                          : std::string("more than a day");
  on_log_(Config::LogLevel::kWarning,
          absl::StrCat("the sweep is ", lag,
                       " behind: nobody can decrypt payloads past their deadline, but the room of "
                       "their rows, and what they count for quotas, come back that much later; a "
                       "larger retention.sweep_batch_calls makes it faster"));
}

void Upkeep::MaintainKeys(const Now& now) {
  ReportUnlockedKeys();
  Keyring* const keyring = context_.storage.keyring();
  absl::Status status = keyring->EnsureAhead(now.steady_ms);
  if (!status.ok()) OnKeyringError("cannot make hour keys ahead", status);
  const size_t missing = keyring->MissingHours(now.steady_ms).size();
  if (missing > 0) {
    on_log_(Config::LogLevel::kError,
            absl::StrCat("hour keys of ", missing, " future hours are missing"));
  }
  status = context_.storage.Maintain(now.steady_ms);
  if (!status.ok()) Log(Config::LogLevel::kError, "cannot reclaim disk space", status);
}

// Their memory grows with the hours that are in use.
void Upkeep::ReportUnlockedKeys() {
  if (LockedMemory::AllIsLocked() || std::exchange(unlocked_is_reported_, true)) return;
  on_log_(Config::LogLevel::kWarning,
          "keys cannot be locked in memory and may reach swap: raise the limit on locked memory to "
          "64 MiB (LimitMEMLOCK= in the systemd unit, ulimit -l in a shell)");
}

// What was not changed is tried again in a minute. After half a change nothing is, and seconds that
// are over would never be closed.
void Upkeep::OnKeyringError(absl::string_view what, const absl::Status& status) {
  Log(Config::LogLevel::kError, what, status);
  if (context_.storage.keyring()->has_failed()) context_.failure.Report(status);
}

void Upkeep::ApplyPostponedRetention(const Now& now) {
  if (!std::exchange(postponed_is_logged_, true)) {
    for (const std::string& name : context_.tenants.Postponed()) {
      on_log_(Config::LogLevel::kWarning,
              absl::StrCat("the raised max_ttl of tenant ", name,
                           " waits until the clock is trusted; the old one is in force"));
    }
  }
  const auto applied = context_.tenants.ApplyPostponed(now);
  if (!applied.ok()) return OnError("cannot apply a raised max_ttl", applied.status());
  for (const std::string& name : *applied) {
    on_log_(Config::LogLevel::kInfo,
            absl::StrCat("the raised max_ttl of tenant ", name, " is in force from now on"));
  }
}

void Upkeep::RemoveOrphans() {
  has_explained_all_ = false;
  const auto found = context_.storage.FindOrphans();
  if (!found.ok()) {
    return Log(Config::LogLevel::kError, "cannot look for orphans", found.status());
  }
  ReportEvidence(*found);
  has_undated_ = found->undated_payload_count > 0;
  has_explained_all_ = found->is_whole && !has_undated_ && found->unnamed_slot_count == 0 &&
                       found->damaged_row_count == 0;
  if (found->empty()) {
    return context_.storage.OrphansRemoved(found->is_whole);
  }
  on_log_(Config::LogLevel::kInfo,
          absl::StrCat("removing what a crash left behind: ", found->rows.size(), " rows, ",
                       found->slots.size(), " slots, segments of ", found->segments.size(),
                       " payloads"));
  if (!ExpireErased(found->rows)) return;
  std::atomic<bool> are_removed{found->is_whole};
  router_.RunOnEachShard([&](uint32_t number, Shard* shard) {
    Orphans part;
    for (const DuePayload& row : found->rows) {
      if (router_.ShardOf(row.key.id) == number) part.rows.push_back(row);
    }
    if (number == 0) {
      part.slots = found->slots;
      part.segments = found->segments;
    }
    const absl::Status status = shard->RemoveOrphans(std::move(part));
    if (status.ok()) return;
    are_removed = false;
    OnError("cannot remove orphans", status);
  });
  context_.storage.OrphansRemoved(are_removed);
}

// A secret that was overwritten belonged to a payload that had ended, and a loss of power took the
// record of that. The rules write it anew: a call of which nothing stayed could be put again.
bool Upkeep::ExpireErased(const std::vector<DuePayload>& rows) {
  std::vector<DuePayload> erased;
  const auto expire = [&] {
    // Refused by a full queue: they are offered again until they are taken.
    while (!(erased = sink_.Expire(erased)).empty()) {
      if (!Pause(kMaintenancePause)) return false;
    }
    return true;
  };
  for (const DuePayload& row : rows) {
    if (context_.storage.StateOf(row.slot) != SlotState::kErased) continue;
    erased.push_back(row);
    if (erased.size() >= kPageMax && !expire()) return false;
  }
  return erased.empty() || expire();
}

// An acceptance explains what no crash does, so all of it is among what is removed.
void Upkeep::ReportAccepted(const Orphans& orphans) {
  if (!context_.config.storage.accept_data_loss) return;
  absl::flat_hash_set<CallKey> calls;
  size_t payload_count = 0;
  for (const DuePayload& row : orphans.rows) {
    if (context_.storage.StateOf(row.slot) == SlotState::kErased) continue;
    ++payload_count;
    calls.insert(row.key);
  }
  const bool is_first = !std::exchange(acceptance_is_reported_, true);
  if (payload_count == 0 && orphans.slots.empty()) {
    if (is_first) {
      on_log_(Config::LogLevel::kWarning,
              "storage.accept_data_loss is set, and no payload has lost its secret or its row: set "
              "it back to false");
    }
    return;
  }
  on_log_(Config::LogLevel::kWarning,
          absl::StrCat("data loss, accepted by storage.accept_data_loss: ",
                       payload_count + orphans.slots.size(), " payloads are lost: ", payload_count,
                       " payloads of ", calls.size(), " calls have no secret in keys/slots, and ",
                       orphans.slots.size(),
                       " secrets have no payload in db; these calls are unknown from now on and "
                       "may be put again; set storage.accept_data_loss back to false"));
}

void Upkeep::ReportEvidence(const Orphans& orphans) {
  ReportAccepted(orphans);
  if (!orphans.is_whole) {
    on_log_(Config::LogLevel::kError,
            "some rows cannot be read, so slots that no row names are left alone");
  }
  if (orphans.undated_payload_count > 0) {
    on_log_(
        Config::LogLevel::kError,
        absl::StrCat("damage, more than a crash leaves behind: the deadlines of ",
                     orphans.undated_payload_count,
                     " payloads are lost; they stay readable until their own rows say that they "
                     "have expired, and are looked for once an hour"));
  }
  if (orphans.damaged_row_count == 0 && orphans.unnamed_slot_count == 0) return;
  on_log_(Config::LogLevel::kError,
          absl::StrCat("damage, more than a crash leaves behind: ", orphans.damaged_row_count,
                       " payloads whose slot in keys/slots does not hold their secret, ",
                       orphans.unnamed_slot_count,
                       " slots that no payload names; they are kept as they are: restore the data "
                       "directory, or set storage.accept_data_loss for one start to give them up"));
}

void Upkeep::OnError(absl::string_view what, const absl::Status& status) {
  if (const absl::Status health = context_.storage.Health(); !health.ok()) {
    return context_.failure.Report(health);
  }
  Log(Config::LogLevel::kError, what, status);
}

// The first walk that meets all payloads also tells the keyring in which seconds some are due: it
// then writes nothing for the others.
void Upkeep::SweepStragglers(const Now& now) {
  if (now.erase_ms == Now::kNeverMs) return;
  Keyring* const keyring = context_.storage.keyring();
  const bool notes_uses = !uses_are_noted_ && has_explained_all_;
  const uint64_t skipped_before = context_.storage.skipped();
  std::optional<DuePayload> cursor;
  while (true) {
    const auto page = context_.storage.Due(0, kLastSecond, kPageMax, cursor);
    if (!page.ok()) {
      return Log(Config::LogLevel::kError, "cannot look for stragglers", page.status());
    }
    std::vector<DuePayload> expired;
    for (const DuePayload& due : *page) {
      if (notes_uses) keyring->NoteUse(due.due_s);
      if (IsStraggler(due, now)) expired.push_back(due);
    }
    if (!expired.empty()) sink_.Expire(expired);
    if (!Pause(absl::ZeroDuration())) return;
    if (page->size() < kPageMax) break;
    cursor = page->back();
  }
  if (has_undated_ || context_.storage.skipped() != skipped_before) return SweepHidden(now);
  if (!notes_uses) return;
  keyring->AllUsesAreNoted();
  uses_are_noted_ = true;
}

bool Upkeep::IsStraggler(const DuePayload& due, const Now& now) const {
  const Tenant* tenant = context_.tenants.ByNumber(due.key.tenant);
  if (tenant == nullptr) return false;
  if (due.due_s < now.erase_ms / 1000 - kStragglerS) return true;
  StoredPayload payload;
  payload.stored_ms = due.stored_ms;
  payload.deadline_ms = due.due_s * 1000;
  return due.due_s * 1000 > now.erase_ms && IsErasable(payload, RetentionContext(*tenant, now));
}

// Payloads that damage in the deadlines hides fall due all the same. Their own rows say when.
void Upkeep::SweepHidden(const Now& now) {
  std::vector<DuePayload> expired;
  const auto expire = [&] {
    if (!expired.empty()) sink_.Expire(std::exchange(expired, {}));
  };
  const absl::Status status = context_.storage.VisitPayloads([&](const DuePayload& due) {
    if (!IsStraggler(due, now)) return;
    expired.push_back(due);
    if (expired.size() >= kPageMax) expire();
  });
  if (!status.ok()) OnError("cannot look for what damage hides from the sweep", status);
  expire();
}

void Upkeep::Log(Config::LogLevel level, absl::string_view what, const absl::Status& status) {
  on_log_(level, absl::StrCat(what, ": ", status.message()));
}

}  // namespace mayfly
