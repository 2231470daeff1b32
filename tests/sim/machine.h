// The machine that a simulated store runs on: one thread, a disk that fails and crashes, a clock that
// moves when it is told to, and dice that decide what happens next.
//
// It is the store's Stepper: committers and workers run when the dice say so, also while the store
// waits for the disk.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"

#include "config/config.h"
#include "storage/memory/memory_storage.h"
#include "store/call_store.h"
#include "store/stepper.h"
#include "support/manual_clock.h"

namespace mayfly::sim {

class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}
  // Both included. Not std::uniform_int_distribution, which differs between libraries.
  int64_t Between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random_() % static_cast<uint64_t>(high - low + 1));
  }
  bool OneIn(int64_t n) { return Between(1, n) == 1; }

 private:
  std::mt19937_64 random_;
};

class Machine final : public Stepper, private Executor {
 public:
  // `dice` outlives it.
  explicit Machine(uint64_t seed, Dice* dice);
  ~Machine() override;

  // Starts the store upon what the disk has. False: a fault has cut the start off.
  bool Start();
  // As SIGTERM does.
  void Stop();
  // The process ends, or the machine does. What the store still says is not heard.
  void Crash();

  bool is_running() const { return store_ != nullptr; }
  // A write or sync has failed.
  bool disk_has_failed() const { return storage_ != nullptr && !storage_->Health().ok(); }
  // The store wants its process to end.
  bool has_failed() const { return has_failed_; }
  // Nothing that the store says now leaves the machine.
  bool is_crashing() const { return is_crashing_; }
  CallStore* store() { return store_.get(); }
  Tenant* tenant() { return tenant_; }
  MemoryDisk* disk() { return &disk_; }
  MemoryStorage* storage() { return storage_; }
  bool is_relaxed() const { return config_.storage.durability == Config::Durability::kRelaxed; }

  int64_t now_ms() { return absl::ToUnixMillis(clock_.Read().wall); }
  void Advance(int64_t ms) { clock_.Advance(absl::Milliseconds(ms)); }

  // One step of a committer, or one closure of a worker.
  void RunSomething();
  // Runs all that there is to run, but for what waits for time.
  void RunAll();
  // Maintenance and sweep, while other things go on.
  void Tick();
  // Reads of calls and of secrets that are compared fail now and then, which costs the answer that they
  // were for and nothing else.
  void FailReads(bool fail) { reads_fail_ = fail; }
  // In this life.
  bool a_read_has_failed() const { return a_read_has_failed_; }
  // The next operation but `count` that changes the disk fails.
  void FailAfter(int64_t count) { operations_until_failure_ = count; }
  // Called now and then while the store waits for the disk.
  void OnDisk(absl::AnyInvocable<void()> meanwhile) { meanwhile_ = std::move(meanwhile); }

 private:
  Executor* workers() override { return this; }
  void TakeCommitters(const std::vector<Committer*>& committers) override;
  void RunUntil(absl::FunctionRef<bool()> is_done) override;
  void Run(absl::AnyInvocable<void()> work) override { closures_.push_back(std::move(work)); }
  size_t thread_count() const override { return 3; }

  absl::Status BeforeOperation(DiskOperation operation);
  bool RunClosure();
  void StepCommitter(size_t number);

  Dice& dice_;
  MemoryDisk disk_;
  ManualClock clock_;
  Config config_;
  MemoryStorage* storage_ = nullptr;  // the store's
  std::unique_ptr<CallStore> store_;
  Tenant* tenant_ = nullptr;
  std::vector<Committer*> committers_;
  std::vector<bool> is_stepping_;
  std::deque<absl::AnyInvocable<void()>> closures_;
  absl::AnyInvocable<void()> meanwhile_;
  int64_t operations_until_failure_ = -1;  // -1: never
  bool sync_has_failed_ = false;
  bool reads_fail_ = false;
  bool a_read_has_failed_ = false;
  bool is_ticking_ = false;
  bool has_failed_ = false;
  bool is_serving_ = false;
  bool is_crashing_ = false;
  int depth_ = 0;  // of things that happen while others wait for the disk
};

}  // namespace mayfly::sim
