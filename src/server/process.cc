#include "server/process.h"

#include <signal.h>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/notification.h"

namespace mayfly {
namespace {

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

}  // namespace

void HardenProcess() {
  umask(077);
  prctl(PR_SET_DUMPABLE, 0);
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

absl::Status CheckThreads(int count) {
  Notification may_end;
  std::vector<std::thread> threads;
  absl::Status status;
  try {
    for (int i = 0; i < count; ++i) {
      threads.emplace_back([&may_end] { may_end.WaitForNotification(); });
    }
  } catch (const std::system_error& error) {
    status = absl::ResourceExhaustedError(absl::StrCat(
        "this process may have only ", threads.size(), " more threads, and needs ", count, ": ",
        error.code().message(),
        ": raise the limit on processes and threads (TasksMax= in the systemd unit, ulimit -u in a "
        "shell, pids.max of a container) or on memory (ulimit -v)"));
  }
  may_end.Notify();
  for (std::thread& thread : threads) thread.join();
  return status;
}

void BlockStopSignals() {
  const sigset_t signals = StopSignals();
  Check(pthread_sigmask(SIG_BLOCK, &signals, nullptr) == 0, "signals can be blocked");
  signal(SIGPIPE, SIG_IGN);
}

int WaitForStop() {
  const sigset_t signals = StopSignals();
  int number = 0;
  while (sigwait(&signals, &number) != 0) {
  }
  return number;
}

}  // namespace mayfly
