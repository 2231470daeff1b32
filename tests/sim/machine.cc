#include "sim/machine.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "sim/model.h"
#include "store/shard/deferral.h"

namespace mayfly::sim {
namespace {

constexpr int kDepthMax = 2;
constexpr int kStepsMax = 100'000;

Config ConfigOf(Dice* dice) {
  Config config;
  config.storage.shards = static_cast<uint64_t>(dice->Between(1, 3));
  // With relaxed durability a loss of power may take what was answered: such machines are killed only.
  const bool is_relaxed = dice->OneIn(4);
  config.storage.durability = is_relaxed ? Config::Durability::kRelaxed : Config::Durability::kSync;
  config.retention.tombstone_ttl = absl::Milliseconds(kTombstoneTtlMs);
  config.limits.id_window = absl::Milliseconds(kIdWindowMs);
  config.claims.lease_total_max = absl::Milliseconds(kLeaseTotalMaxMs);
  return config;
}

}  // namespace

Machine::Machine(uint64_t seed, Dice* dice) : dice_(*dice), disk_(seed), config_(ConfigOf(dice)) {
  clock_.SetSynchronised(true);
}

Machine::~Machine() {
  if (is_running()) Crash();
}

bool Machine::Start() {
  has_failed_ = sync_has_failed_ = a_read_has_failed_ = false;
  auto storage = MemoryStorage::Open(
      {.disk = &disk_,
       .root_key = SecretBytes(AsBytes(std::string(32, 'r'))),
       .now_ms = now_ms(),
       .on_operation = [this](DiskOperation operation) { return BeforeOperation(operation); }});
  if (!storage.ok()) return false;
  storage_ = storage->get();
  auto store = CallStore::Start(*std::move(storage),
                                {.config = &config_,
                                 .clock = &clock_,
                                 .on_fatal = [this](const absl::Status&) { has_failed_ = true; },
                                 .on_log = [](Config::LogLevel, const std::string&) {},
                                 .background_threads = false,
                                 .stepper = this});
  if (!store.ok()) {
    committers_.clear();
    return false;
  }
  store_ = *std::move(store);
  const auto tenant = store_->ResolveTenant("acme");
  if (!tenant.ok()) {
    Crash();
    return false;
  }
  tenant_ = *tenant;
  is_serving_ = true;
  return true;
}

void Machine::Stop() {
  is_serving_ = false;
  store_.reset();
  storage_ = nullptr;
  committers_.clear();
  Check(closures_.empty(), "a store that has ended leaves nothing to run");
}

void Machine::Crash() {
  is_crashing_ = true;
  // After a failed sync only a loss of power says what the disk holds.
  if (!is_relaxed() && (sync_has_failed_ || dice_.OneIn(2))) {
    disk_.LosePower();
  } else {
    disk_.Kill();
  }
  operations_until_failure_ = -1;
  reads_fail_ = false;
  Stop();
  has_failed_ = sync_has_failed_ = false;
  is_crashing_ = false;
}

absl::Status Machine::BeforeOperation(DiskOperation operation) {
  if (is_crashing_) return absl::OkStatus();
  const bool is_sync =
      operation == DiskOperation::kSyncRows || operation == DiskOperation::kSyncSlots;
  // What one thread does here, others do on a real machine. A group in the making would take what they
  // commit inline for its own, unless they find its committer busy.
  const bool others_may_run = Deferral::Current() == nullptr || committers_.size() == 1;
  if (meanwhile_ && is_serving_ && others_may_run && depth_ < kDepthMax &&
      dice_.OneIn(is_sync ? 3 : 12)) {
    ++depth_;
    for (int64_t i = dice_.Between(1, 3); i > 0; --i) meanwhile_();
    --depth_;
  }
  // Secrets within a group are read for comparisons. An output that cannot be read has its claim
  // released later, which the model does not know.
  const bool is_read = operation == DiskOperation::kReadCall ||
                       (operation == DiskOperation::kReadSlot && Deferral::Current() != nullptr);
  if (is_read && reads_fail_ && !is_ticking_ && dice_.OneIn(20)) {
    a_read_has_failed_ = true;
    return absl::UnavailableError("a bad sector");
  }
  if (!ChangesDisk(operation) || operations_until_failure_ < 0) return absl::OkStatus();
  // A sync that fails is followed by a loss of power, which is too much for relaxed durability.
  if (is_sync && is_relaxed()) return absl::OkStatus();
  if (--operations_until_failure_ >= 0) return absl::OkStatus();
  sync_has_failed_ |= is_sync;
  return absl::UnavailableError("the disk failed");
}

void Machine::TakeCommitters(const std::vector<Committer*>& committers) {
  committers_ = committers;
  is_stepping_.assign(committers.size(), false);
}

void Machine::RunUntil(absl::FunctionRef<bool()> is_done) {
  for (int i = 0; !is_done(); ++i) {
    Check(i < kStepsMax, "the store ends what it waits for");
    RunSomething();
  }
}

bool Machine::RunClosure() {
  if (closures_.empty()) return false;
  // Workers take closures in order, and overtake each other.
  const auto choices = static_cast<int64_t>(std::min(closures_.size(), thread_count()));
  const auto chosen = closures_.begin() + dice_.Between(0, choices - 1);
  absl::AnyInvocable<void()> closure = std::move(*chosen);
  closures_.erase(chosen);
  closure();
  return true;
}

void Machine::RunSomething() {
  if (dice_.OneIn(2) && RunClosure()) return;
  const auto number =
      static_cast<size_t>(dice_.Between(0, static_cast<int64_t>(committers_.size()) - 1));
  StepCommitter(number);
}

// One that waits for the disk takes no other step, and a group in the making no other group.
void Machine::StepCommitter(size_t number) {
  if (is_stepping_[number] || Deferral::Current() != nullptr) return;
  is_stepping_[number] = true;
  committers_[number]->Step();
  is_stepping_[number] = false;
}

void Machine::RunAll() {
  for (int round = 0; round < 6; ++round) {
    while (RunClosure()) {
    }
    for (size_t number = 0; number < committers_.size(); ++number) StepCommitter(number);
  }
  while (RunClosure()) {
  }
}

// Reads do not fail meanwhile: of a call that the sweep cannot read it erases the secret and leaves the row,
// which a crash after the slot is reused may take for one that was never stored.
void Machine::Tick() {
  is_ticking_ = true;
  store_->Tick();
  is_ticking_ = false;
}

}  // namespace mayfly::sim
