// The current memory of another process, and its peak while a test watched it.
//
//   MemoryWatch watch(server.pid());
//   ... eight uploads ...
//   EXPECT_LT(watch.Peak().resident_bytes - before.resident_bytes, 64 << 20);
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <fstream>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <sys/types.h>

#include "base/check.h"
#include "base/mutex.h"

namespace mayfly {

// proc(5), /proc/PID/status. Resident is anonymous, mapped files (the program, its libraries and the
// slot file) and shared memory; the page cache of files that are only read and written is in none of
// them.
struct ProcessMemory {
  int64_t resident_bytes = 0;   // VmRSS
  int64_t anonymous_bytes = 0;  // RssAnon: heap and stacks
};

inline ProcessMemory ReadProcessMemory(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/status"));
  ProcessMemory memory;
  std::string name;
  while (file >> name) {
    int64_t kib = 0;
    if (name == "VmRSS:" && file >> kib) memory.resident_bytes = kib << 10;
    if (name == "RssAnon:" && file >> kib) memory.anonymous_bytes = kib << 10;
    std::getline(file, name);
  }
  Check(memory.resident_bytes > 0, "a process that runs has memory");
  return memory;
}

// Samples every few milliseconds, on a thread of its own. Thread-safe.
class MemoryWatch {
 public:
  explicit MemoryWatch(pid_t pid) : pid_(pid), thread_([this] { Run(); }) {}
  ~MemoryWatch() {
    stops_ = true;
    thread_.join();
  }
  MemoryWatch(const MemoryWatch&) = delete;
  MemoryWatch& operator=(const MemoryWatch&) = delete;

  // Each at its highest.
  ProcessMemory Peak() EXCLUDES_LOCK(mutex_) {
    Sample();
    MutexLock lock(&mutex_);
    return peak_;
  }

 private:
  static constexpr absl::Duration kInterval = absl::Milliseconds(5);

  void Run() {
    while (!stops_) {
      Sample();
      absl::SleepFor(kInterval);
    }
  }
  void Sample() EXCLUDES_LOCK(mutex_) {
    const ProcessMemory now = ReadProcessMemory(pid_);
    MutexLock lock(&mutex_);
    peak_.resident_bytes = std::max(peak_.resident_bytes, now.resident_bytes);
    peak_.anonymous_bytes = std::max(peak_.anonymous_bytes, now.anonymous_bytes);
  }

  const pid_t pid_;
  std::atomic<bool> stops_{false};
  Mutex mutex_;
  ProcessMemory peak_ GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace mayfly
