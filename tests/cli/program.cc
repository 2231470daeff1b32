#include "cli/program.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <unistd.h>
#include <utility>

#include "absl/time/clock.h"
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/check.h"

namespace mayfly {
namespace {

constexpr absl::Duration kShownTimeout = absl::Seconds(60);

std::vector<char*> Pointers(std::vector<std::string>* words) {
  std::vector<char*> pointers;
  for (std::string& word : *words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

// A child that has not begun its program yet counts what its parent has ever had in memory, and what it
// has freed and kept.
void ForgetPeakMemory() {
  malloc_trim(0);
  const int descriptor = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
  Check(write(descriptor, "5", 1) == 1, "the peak of the memory can be forgotten");
  close(descriptor);
}

}  // namespace

Program::Program(ProgramPlan plan) {
  ForgetPeakMemory();
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, plan.in.c_str(), O_RDONLY, 0);
  constexpr int kWrite = O_WRONLY | O_CREAT | O_TRUNC;
  posix_spawn_file_actions_addopen(&files, 1, plan.out.c_str(), kWrite, 0600);
  posix_spawn_file_actions_addopen(&files, 2, plan.err.c_str(), kWrite, 0600);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  if (plan.new_session) posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
  const int error = posix_spawn(&pid_, plan.words[0].c_str(), &files, &attributes,
                                Pointers(&plan.words).data(), Pointers(&plan.variables).data());
  Check(error == 0, "the program can be started");
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
}

Program::~Program() {
  if (pid_ == 0) return;
  Signal(SIGKILL);
  Wait();
}

void Program::Signal(int number) const { kill(pid_, number); }

ProgramEnd Program::Wait() {
  int state = 0;
  rusage usage = {};
  while (wait4(pid_, &state, 0, &usage) < 0) Check(errno == EINTR, "the program is a child");
  pid_ = 0;
  return {.exit_code = WIFEXITED(state) ? WEXITSTATUS(state) : -1,
          .signal = WIFSIGNALED(state) ? WTERMSIG(state) : 0,
          .resident_bytes_max = static_cast<uint64_t>(usage.ru_maxrss) << 10};
}

Terminal::Terminal() {
  controller_ = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  Check(controller_ >= 0 && grantpt(controller_) == 0 && unlockpt(controller_) == 0 &&
            pipe2(wake_, O_CLOEXEC) == 0,
        "a terminal can be made");
  path_ = ptsname(controller_);
  terminal_ = open(path_.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC);
  winsize size = {.ws_row = 24, .ws_col = 100};
  Check(terminal_ >= 0 && ioctl(terminal_, TIOCSWINSZ, &size) == 0, "a terminal has a size");
  reader_ = std::thread([this] { Read(); });
}

Terminal::~Terminal() {
  close(wake_[1]);
  reader_.join();
  close(wake_[0]);
  close(terminal_);
  close(controller_);
}

void Terminal::Type(const std::string& text) const {
  Check(write(controller_, text.data(), text.size()) == static_cast<ssize_t>(text.size()),
        "a terminal takes what is typed");
}

std::string Terminal::Shown() {
  MutexLock lock(&mutex_);
  return shown_;
}

bool Terminal::WaitFor(const std::string& text) {
  const absl::Time end = absl::Now() + kShownTimeout;
  MutexLock lock(&mutex_);
  while (shown_.find(text) == std::string::npos) {
    if (absl::Now() >= end) return false;
    changed_.WaitFor(&mutex_, end - absl::Now());
  }
  return true;
}

void Terminal::Read() {
  std::string buffer(64 << 10, '\0');
  while (true) {
    pollfd waits[2] = {{.fd = controller_, .events = POLLIN}, {.fd = wake_[0], .events = POLLIN}};
    poll(waits, 2, /*timeout=*/-1);
    if (waits[1].revents != 0) return;
    const ssize_t count = read(controller_, buffer.data(), buffer.size());
    if (count < 0) continue;
    MutexLock lock(&mutex_);
    shown_.append(buffer, 0, static_cast<size_t>(count));
    changed_.NotifyAll();
  }
}

}  // namespace mayfly
