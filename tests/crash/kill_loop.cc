// Kills the real server under load, over and over, and checks after every start that what it had
// answered is so.
//
//   mayfly_kill_loop ROUNDS [SEED]
//
// A round: start (killed once more in the middle of it, now and then), check all that is live, all
// that was touched last and a sample of what ended before, load from several threads, kill -9. At
// the end everything is checked, everything is ended, and nothing may be left over.
//
// kill -9 leaves the page cache alone, so what this can find are answers given before their writes,
// writes in the wrong order, and a recovery that goes wrong. Loss of power is for the tests of
// storage, with faulty file systems.
//
// Exit code 0 when nothing was lost and nothing came back, 1 otherwise, 2 for wrong arguments.

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <nlohmann/json.hpp>

#include "crash/audit.h"
#include "crash/findings.h"
#include "crash/load.h"
#include "support/loop_arguments.h"
#include "support/test_server.h"

namespace mayfly {
namespace {

constexpr size_t kLoadCount = 4;
constexpr int kLoadMsMin = 50;
constexpr int kLoadMsMax = 900;
// Of recovery, which is killed in one start of four.
constexpr int kRecoveryMsMax = 120;
// Of the calls that ended long ago, how many are looked at again in every round.
constexpr size_t kSampleCalls = 1000;
// Longer than a run, so that the ends of calls are remembered throughout.
constexpr char kSettings[] = "[retention]\ntombstone_ttl = \"24h\"\nclock_jump_grace = \"0s\"\n";
// For the sweep of what expires last.
constexpr absl::Duration kSweepTimeout = absl::Seconds(60);

using Calls = std::vector<std::unique_ptr<CallModel>>;

class KillLoop {
 public:
  explicit KillLoop(uint64_t seed) : random_(seed), server_(kSettings) {}

  void RunRound(int round);
  // Checks and ends all calls. What the server counts must be what is there, and then nothing.
  void Finish();
  uint64_t violation_count() const { return findings_.count(); }

 private:
  void StartServer();
  void CheckCalls(bool all_ended);
  // Moves what has ended for good from touched_.
  void FileEnded();
  void LoadAndKill();
  // Restarts in peace until what expires by itself is swept.
  void ExpectCallCount(int64_t expected);
  // Of the log's last line on recovery.
  int64_t RecoveredCallCount() const;

  std::mt19937_64 random_;
  Findings findings_;
  TestServer server_;
  Calls touched_;  // live, or in doubt, or ended since the last check
  Calls ended_;    // nothing of them may be readable ever again
  uint64_t answered_count_ = 0;
  uint64_t unanswered_count_ = 0;
  uint64_t checked_count_ = 0;
  absl::Duration start_;
};

void KillLoop::RunRound(int round) {
  checked_count_ = answered_count_ = unanswered_count_ = 0;
  StartServer();
  CheckCalls(/*all_ended=*/false);
  FileEnded();
  LoadAndKill();
  std::printf(
      "round %d: started in %lld ms, checked %llu calls, %llu operations acknowledged, "
      "%llu unanswered\n",
      round, static_cast<long long>(absl::ToInt64Milliseconds(start_)),
      static_cast<unsigned long long>(checked_count_),
      static_cast<unsigned long long>(answered_count_),
      static_cast<unsigned long long>(unanswered_count_));
  std::fflush(stdout);
}

void KillLoop::StartServer() {
  if (random_() % 4 == 0) {
    server_.StartWithoutWaiting();
    absl::SleepFor(absl::Milliseconds(random_() % kRecoveryMsMax));
    server_.Kill();
  }
  const absl::Time begun = absl::Now();
  server_.Start();
  start_ = absl::Now() - begun;
}

void KillLoop::CheckCalls(bool all_ended) {
  std::vector<CallModel*> calls;
  for (const auto& call : touched_) calls.push_back(call.get());
  if (all_ended || ended_.size() <= kSampleCalls) {
    for (const auto& call : ended_) calls.push_back(call.get());
  } else {
    const size_t first = random_() % ended_.size();
    for (size_t i = 0; i < kSampleCalls; ++i) {
      calls.push_back(ended_[(first + i) % ended_.size()].get());
    }
  }
  Audit audit(server_, &findings_);
  audit.Check(calls);
  checked_count_ += audit.checked_count();
}

void KillLoop::FileEnded() {
  Calls live;
  for (auto& call : touched_) {
    (call->IsOver(absl::Now()) ? ended_ : live).push_back(std::move(call));
  }
  touched_ = std::move(live);
}

void KillLoop::LoadAndKill() {
  std::atomic<bool> is_killed = false;
  std::vector<Calls> shares(kLoadCount);
  for (size_t i = 0; i < touched_.size(); ++i) {
    shares[i % kLoadCount].push_back(std::move(touched_[i]));
  }
  touched_.clear();
  std::vector<std::unique_ptr<Load>> loads;
  std::vector<std::thread> threads;
  for (Calls& share : shares) {
    loads.push_back(
        std::make_unique<Load>(server_, random_(), std::move(share), &is_killed, &findings_));
    threads.emplace_back([load = loads.back().get()] { load->Run(); });
  }
  absl::SleepFor(absl::Milliseconds(kLoadMsMin + random_() % (kLoadMsMax - kLoadMsMin)));
  is_killed = true;
  server_.Kill();
  for (std::thread& thread : threads) thread.join();
  for (const auto& load : loads) {
    Calls calls = load->TakeCalls();
    std::move(calls.begin(), calls.end(), std::back_inserter(touched_));
    answered_count_ += load->answered_count();
    unanswered_count_ += load->unanswered_count();
  }
}

void KillLoop::Finish() {
  checked_count_ = 0;
  StartServer();
  CheckCalls(/*all_ended=*/true);
  FileEnded();
  std::vector<CallModel*> calls;
  int64_t lasting_count = 0;
  for (const auto& call : touched_) {
    calls.push_back(call.get());
    lasting_count += call->is_short_lived ? 0 : 1;
  }
  ExpectCallCount(lasting_count);
  Audit(server_, &findings_).EndAll(calls);
  ExpectCallCount(0);
  CheckCalls(/*all_ended=*/true);
  server_.Stop();
  std::printf("end: %llu checks, %lld calls were left, all %llu have ended and stay so\n",
              static_cast<unsigned long long>(checked_count_),
              static_cast<long long>(lasting_count),
              static_cast<unsigned long long>(touched_.size() + ended_.size()));
}

void KillLoop::ExpectCallCount(int64_t expected) {
  int64_t count = 0;
  const absl::Time end = absl::Now() + kSweepTimeout;
  do {
    if (const int exit_code = server_.Stop(); exit_code != 0) {
      findings_.Report(absl::StrCat("the server stopped with exit code ", exit_code));
    }
    server_.Start();
    count = RecoveredCallCount();
  } while (count != expected && absl::Now() < end);
  if (count == expected) return;
  findings_.Report(absl::StrCat("the server counts ", count, " live calls, expected ", expected));
}

int64_t KillLoop::RecoveredCallCount() const {
  const std::string log = server_.Log();
  const size_t found = log.rfind("\"recovered\"");
  if (found == std::string::npos) return -1;
  const size_t begin = log.rfind('\n', found) + 1;
  return nlohmann::json::parse(log.substr(begin, log.find('\n', found) - begin))
      .value("live_calls", int64_t{-1});
}

int Main(uint64_t round_count, uint64_t seed) {
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  const absl::Time begun = absl::Now();
  KillLoop loop(seed);
  for (uint64_t round = 1; round <= round_count; ++round) loop.RunRound(static_cast<int>(round));
  loop.Finish();
  std::printf("%llu rounds in %s, %llu violations\n", static_cast<unsigned long long>(round_count),
              absl::FormatDuration(absl::Now() - begun).c_str(),
              static_cast<unsigned long long>(loop.violation_count()));
  return loop.violation_count() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace mayfly

int main(int argc, char** argv) {
  const auto arguments = mayfly::ReadLoopArguments(argc, argv);
  if (!arguments) {
    std::fputs("usage: mayfly_kill_loop ROUNDS [SEED]\n", stderr);
    return 2;
  }
  return mayfly::Main(arguments->count, arguments->seed);
}
