// The fixture of the retrieve tests: a fake server, and a log of the requests to it and to the
// disk, in order.
#pragma once

#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "cli/commands.h"
#include "cli/recording_file_system.h"
#include "cli/scratch.h"
#include "client/client_fixture.h"

namespace mayfly::cli {

class RetrievalFixture : public client::ClientFixture {
 protected:
  RetrievalFixture() {
    server_.OnAck([this] { Log("ack"); });
  }

  void Log(const std::string& event) EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    log_.push_back(event);
  }
  std::vector<std::string> TakeLog() EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    return std::exchange(log_, {});
  }

  // The operation on the disk of this number, from 1, fails, or throws Crash; 0: none.
  ExitCode Run(CommandLine line, int failing_operation, int crashing_operation = 0) {
    RecordingFileSystem files([this](const std::string& event) { Log(event); });
    files.FailOperation(failing_operation);
    files.CrashAtOperation(crashing_operation);
    line.verb = Verb::kRetrieve;
    return RunOn(&files, line);
  }
  ExitCode RunOn(RecordingFileSystem* files, const CommandLine& line) {
    Report report(&out_, &err_, line.json, line.verb);
    ProgressBar bar{{}};
    Interruption interruption;
    return Commands(client_, line,
                    {.report = &report,
                     .bar = &bar,
                     .file_system = files,
                     .interruption = &interruption})
        .Run();
  }

  Scratch scratch_;
  std::ostringstream out_;
  std::ostringstream err_;
  Mutex mutex_;
  std::vector<std::string> log_ GUARDED_BY(mutex_);
};

}  // namespace mayfly::cli
