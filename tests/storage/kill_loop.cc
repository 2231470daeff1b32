// Kills a process that writes, flushes and records its files all the time, over and over: no start
// may take what a kill has left for a loss.
//
//   mayfly_storage_kill_loop ROUNDS [SEED]
//
// The memtables are as small as they can be, so that logs come and go within milliseconds, and the
// files are recorded without a pause, so that kills hit every moment between a flush, its edit of the
// manifest, the removal of the log and the next record. Starts are killed as well.
//
// Each process opens the storage anew; this one never does, since a process that has threads cannot
// be forked.
//
// Exit code 0 when no start was refused and every kind of moment was met, 1 otherwise, 2 for wrong
// arguments.
#include <algorithm>
#include <cstdio>
#include <optional>
#include <poll.h>
#include <random>
#include <signal.h>
#include <string>
#include <thread>
#include <unistd.h>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include <sys/wait.h>

#include "base/check.h"
#include "storage/local/file_record.h"
#include "storage/storage_harness.h"
#include "support/loop_arguments.h"

namespace mayfly {
namespace {

constexpr uint64_t kMemtableBytes = 1 << 20;
constexpr size_t kRowBytes = 30'000;
// They replace each other, so that the store stays small.
constexpr uint32_t kKeyCount = 64;
constexpr uint32_t kPutsPerFlush = 100;
constexpr int kLoadMsMax = 250;
constexpr int kStartMsMax = 60;
constexpr int kStartTimeoutMs = 120'000;
constexpr uint64_t kRoundsFactorMax = 10;

// What the files were, seen from the record, when a process was killed.
struct Moments {
  int recorded_logs = 0;     // the manifest as recorded, with several logs
  int changed_manifest = 0;  // since the record
  int missing_logs = 0;      // of these, with a log gone
};

// In a process of its own. Says on `pipe` whether it has opened, and writes until it is killed.
[[noreturn]] void Serve(const std::string& data_dir, uint64_t seed, int pipe) {
  StorageHarness storage(seed);
  storage.options.data_dir = data_dir;
  storage.options.memtable_bytes = kMemtableBytes;
  const absl::Status opened = storage.Open();
  const std::string text = opened.ok() ? "opened" : opened.ToString();
  Check(write(pipe, text.data(), text.size()) == static_cast<ssize_t>(text.size()), "it is told");
  if (!opened.ok()) _exit(1);
  LocalStorage* const opened_storage = &*storage;
  std::thread recorder([opened_storage] {
    while (opened_storage->SyncRecord().ok()) absl::SleepFor(absl::Milliseconds(1));
  });
  int64_t now_ms = kTestNowMs;
  for (uint32_t i = 1; true; ++i) {
    const PutOptions put = {.key = TestKey(static_cast<uint32_t>(storage.random() % kKeyCount)),
                            .ciphertext_bytes = kRowBytes};
    if (!storage.Put(put).ok() || !storage->Sync().ok()) _exit(2);
    if (i % kPutsPerFlush != 0) continue;
    now_ms += LocalStorage::kFlushIntervalMs;
    if (!storage->Maintain(now_ms).ok()) _exit(2);
  }
}

class StorageKillLoop {
 public:
  explicit StorageKillLoop(uint64_t seed) : random_(seed) {}

  // False when the start was refused.
  bool RunRound() {
    int ends[2];
    Check(pipe(ends) == 0, "a pipe can be made");
    const uint64_t seed = random_();
    const pid_t process = fork();
    Check(process >= 0, "a process can be forked");
    if (process == 0) Serve(data_dir_, seed, ends[1]);
    close(ends[1]);
    std::string told = "opened";
    if (random_() % 4 == 0) {
      Pause(kStartMsMax);
    } else {
      told = Hear(ends[0]);
      Pause(kLoadMsMax);
    }
    kill(process, SIGKILL);
    int status = 0;
    Check(waitpid(process, &status, 0) == process, "the process ends");
    close(ends[0]);
    if (told != "opened" || WIFEXITED(status)) {
      std::printf("a start or a write failed: %s\n", told.c_str());
      return false;
    }
    return LookAtFiles();
  }

  void PrintMoments() const {
    std::printf(
        "kills with the manifest as recorded and several logs: %d, with a manifest changed since: "
        "%d, with a recorded log gone by then: %d\n",
        moments_.recorded_logs, moments_.changed_manifest, moments_.missing_logs);
  }
  bool MetEveryMoment() const {
    return moments_.recorded_logs > 0 && moments_.changed_manifest > 0 && moments_.missing_logs > 0;
  }

 private:
  void Pause(int ms_max) {
    absl::SleepFor(absl::Microseconds(random_() % (static_cast<uint64_t>(ms_max) * 1000)));
  }

  static std::string Hear(int pipe) {
    pollfd waiting = {.fd = pipe, .events = POLLIN, .revents = 0};
    if (poll(&waiting, 1, kStartTimeoutMs) != 1) return "nothing was heard of it";
    char text[4096];
    const ssize_t size = read(pipe, text, sizeof text);
    return size > 0 ? std::string(text, static_cast<size_t>(size)) : "it ended";
  }

  bool LookAtFiles() {
    // Whose it is does not matter here.
    auto slots = ReadFile(PosixFileSystem(), data_dir_ + "/keys/slots", uint64_t{1} << 30);
    if (!slots.ok()) return true;  // killed before there was one
    const std::optional<StoreId> store = DecodeIdentity(AsBytes(*slots).first(kSlotPageBytes));
    Check(store.has_value(), "the slot file has its store id");
    const auto synced = FileRecord::Read(PosixFileSystem(), data_dir_ + "/keys", *store);
    if (absl::IsNotFound(synced.status()) && !has_record_) return true;
    const auto found = FindDatabaseFiles(data_dir_ + "/db");
    if (!synced.ok() || !found.ok()) {
      std::printf("unreadable: %s, %s\n", synced.status().ToString().c_str(),
                  found.status().ToString().c_str());
      return false;
    }
    has_record_ = true;
    const bool has_changed = synced->manifest != found->manifest;
    moments_.changed_manifest += has_changed ? 1 : 0;
    moments_.recorded_logs += !has_changed && synced->logs.size() > 1 ? 1 : 0;
    for (const DatabaseFiles::Entry& log : synced->logs) {
      const bool is_there =
          std::any_of(found->logs.begin(), found->logs.end(),
                      [&](const auto& each) { return each.number == log.number; });
      if (is_there) continue;
      ++moments_.missing_logs;
      break;
    }
    return true;
  }

  std::mt19937_64 random_;
  TestDirectory directory_;
  const std::string data_dir_ = directory_.path() + "/data";
  bool has_record_ = false;
  Moments moments_;
};

int RunStorageKillLoop(int argc, char** argv) {
  const auto arguments = ReadLoopArguments(argc, argv);
  if (!arguments) {
    std::fprintf(stderr, "usage: %s ROUNDS [SEED]\n", argv[0]);
    return 2;
  }
  std::printf("seed %llu\n", static_cast<unsigned long long>(arguments->seed));
  std::fflush(stdout);
  StorageKillLoop loop(arguments->seed);
  // A machine that is busy with other things takes more rounds to meet every moment.
  const uint64_t rounds_max = kRoundsFactorMax * arguments->count;
  uint64_t round = 0;
  while (round < arguments->count || (round < rounds_max && !loop.MetEveryMoment())) {
    ++round;
    if (loop.RunRound()) continue;
    std::printf("in round %llu\n", static_cast<unsigned long long>(round));
    return 1;
  }
  std::printf("%llu rounds\n", static_cast<unsigned long long>(round));
  loop.PrintMoments();
  return loop.MetEveryMoment() ? 0 : 1;
}

}  // namespace
}  // namespace mayfly

int main(int argc, char** argv) { return mayfly::RunStorageKillLoop(argc, argv); }
