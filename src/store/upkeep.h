// Upkeep is what the store does without being asked, on two threads of its own: the sweep, and the
// maintenance of keys, clock and disk, which may take long and must not delay the sweep.
//
//   what                                          every
//   seconds that are over closed; sweep           100 ms, and without pause while more is due
//   sync of rows that no answer waited for;
//   uploads past their time; claims that wait
//   for another subscription                      1 s
//   clock record                                  5 s
//   hour keys made, compaction                    1 min
//   orphans; payloads that a lowered max_ttl
//   has ended; payloads the sweep has missed      1 h, and at start
//
// The cadence follows steady time, so tests drive it with a clock of their own by calling the
// rounds themselves.
#pragma once

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

#include "base/mutex.h"
#include "config/config.h"
#include "retention/sweeper.h"
#include "store/router.h"
#include "store/subscriptions.h"
#include "store/uploads.h"

namespace mayfly {

class Upkeep {
 public:
  // One line at a time for the operator.
  using OnLog = absl::AnyInvocable<void(Config::LogLevel, const std::string&)>;

  // All outlive the Upkeep.
  Upkeep(const StoreContext& context, Router* router, Sweeper* sweeper, Uploads* uploads,
         Subscriptions* subscriptions, ExpirySink* sink, OnLog* on_log)
      : context_(context),
        router_(*router),
        sweeper_(*sweeper),
        uploads_(*uploads),
        subscriptions_(*subscriptions),
        sink_(*sink),
        on_log_(*on_log) {}
  // Stops the threads, if they run.
  ~Upkeep();

  void StartThreads();

  // One round each; the threads call them, and so may tests that run no threads.
  // True when the sweep has more to do at once.
  bool Sweep();
  void Maintain();

 private:
  void RunSweep();
  absl::Duration RestAfter(absl::Duration worked);
  void RunMaintenance();
  // False when stopping.
  bool Pause(absl::Duration duration) EXCLUDES_LOCK(mutex_);
  // True when `period_ms` have passed since *last_ms, which then becomes now.
  static bool IsTime(int64_t now_ms, int64_t period_ms, int64_t* last_ms);

  void SyncRows();
  void ReportClocks(const Now& now);
  void ReportSweepLag(const Now& now);
  void CloseSeconds(const Now& now);
  void MaintainKeys(const Now& now);
  void ReportUnlockedKeys();
  void OnKeyringError(absl::string_view what, const absl::Status& status);
  void ApplyPostponedRetention(const Now& now);
  void RemoveOrphans();
  // False: the store ends first.
  bool ExpireErased(const std::vector<DuePayload>& rows);
  void ReportAccepted(const Orphans& orphans);
  void ReportEvidence(const Orphans& orphans);
  // The end when storage has failed, a line in the log when it is only that something cannot be
  // read.
  void OnError(absl::string_view what, const absl::Status& status);
  void SweepStragglers(const Now& now);
  bool IsStraggler(const DuePayload& due, const Now& now) const;
  void SweepHidden(const Now& now);
  void Log(Config::LogLevel level, absl::string_view what, const absl::Status& status);

  const StoreContext& context_;
  Router& router_;
  Sweeper& sweeper_;
  Uploads& uploads_;
  Subscriptions& subscriptions_;
  ExpirySink& sink_;
  OnLog& on_log_;

  // The maintenance thread's own. Zero: not yet.
  int64_t synced_ms_ = 0;
  int64_t recorded_ms_ = 0;
  int64_t kept_ms_ = 0;
  int64_t scrubbed_ms_ = 0;
  bool clocks_disagreed_ = false;
  bool waits_for_clock_ = false;
  int late_rounds_ = 0;  // in a row in which the sweep was far behind
  bool postponed_is_logged_ = false;
  bool unlocked_is_reported_ = false;
  bool acceptance_is_reported_ = false;
  bool has_undated_ = false;  // payloads that the sweep does not know of
  // The last look for what a crash left behind has found nothing else that is amiss.
  bool has_explained_all_ = false;
  bool uses_are_noted_ = false;  // in the keyring, of the payloads that were there at the start
  bool sweep_failed_ = false;    // the sweep thread's

  Mutex mutex_;
  ConditionVariable stop_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace mayfly
