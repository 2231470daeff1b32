// A Program is a child process. Its standard streams are files, pipes or named terminals. When it
// ends, its peak memory is known.
#pragma once

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include <sys/types.h>

#include "base/mutex.h"

namespace mayfly {

struct ProgramPlan {
  std::vector<std::string> words;      // what to run, with its path, and its arguments
  std::vector<std::string> variables;  // NAME=VALUE
  std::string in = "/dev/null";
  std::string out = "/dev/null";
  std::string err = "/dev/null";
  // In a session of its own, in which the first of the three that is a terminal is the one whose
  // Ctrl-C counts.
  bool new_session = false;
};

struct ProgramEnd {
  int exit_code = -1;  // -1: a signal ended it
  int signal = 0;
  uint64_t resident_bytes_max = 0;
};

class Program {
 public:
  explicit Program(ProgramPlan plan);
  // Kills it if it still runs.
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t pid() const { return pid_; }
  void Signal(int number) const;
  ProgramEnd Wait();

 private:
  pid_t pid_ = 0;
};

// A terminal of 100 columns, with a user in front of it.
class Terminal {
 public:
  Terminal();
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  const std::string& path() const { return path_; }
  void Type(const std::string& text) const;
  // Everything that was written to it so far.
  std::string Shown() EXCLUDES_LOCK(mutex_);
  // False when `text` does not come within 30 s.
  bool WaitFor(const std::string& text) EXCLUDES_LOCK(mutex_);

 private:
  void Read() EXCLUDES_LOCK(mutex_);

  int controller_ = -1;
  int terminal_ = -1;  // kept open, so that it is not over when the program has ended
  int wake_[2] = {};   // a pipe
  std::string path_;
  std::thread reader_;
  Mutex mutex_;
  ConditionVariable changed_;
  std::string shown_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
