#include "cli/signal_watch.h"

#include <chrono>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <thread>
#include <time.h>

#include <gtest/gtest.h>

namespace mayfly::cli {
namespace {

// Longer than any wait that these tests mean to break.
constexpr timespec kLong = {.tv_sec = 60, .tv_nsec = 0};

// In a process of its own: the watch leaves the signals blocked.
class SignalWatchDeathTest : public testing::Test {
 protected:
  SignalWatchDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

// As of a command that refuses what it was given.
void WatchForNoTime() {
  for (int i = 0; i < 2000; ++i) {
    Interruption interruption;
    SignalWatch watch(&interruption);
  }
  exit(0);
}

void WaitUntilInterrupted() {
  Interruption interruption;
  SignalWatch watch(&interruption);
  watch.EndIfInterrupted();  // returns: nothing has come
  kill(getpid(), SIGTERM);
  if (nanosleep(&kLong, nullptr) == 0 || errno != EINTR) exit(1);
  if (!interruption.IsInterrupted()) exit(2);
  // Not only the wait that the signal found: the next one too.
  if (nanosleep(&kLong, nullptr) == 0 || errno != EINTR) exit(3);
  watch.EndIfInterrupted();
  exit(4);
}

void BeSignalledTwice() {
  Interruption interruption;
  SignalWatch watch(&interruption);
  kill(getpid(), SIGINT);
  while (!interruption.IsInterrupted()) std::this_thread::yield();
  kill(getpid(), SIGINT);
  std::this_thread::sleep_for(std::chrono::seconds(60));
  exit(1);
}

void BeSignalledWhileIgnoringThat() {
  signal(SIGHUP, SIG_IGN);
  Interruption interruption;
  SignalWatch watch(&interruption);
  kill(getpid(), SIGHUP);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  exit(interruption.IsInterrupted() ? 1 : 0);
}

TEST_F(SignalWatchDeathTest, EndsAtOnceWheneverItIsNoLongerNeeded) {
  EXPECT_EXIT(WatchForNoTime(), testing::ExitedWithCode(0), "");
}

TEST_F(SignalWatchDeathTest, InterruptsEveryWaitAndEndsByTheSignal) {
  EXPECT_EXIT(WaitUntilInterrupted(), testing::KilledBySignal(SIGTERM), "");
}

TEST_F(SignalWatchDeathTest, TheSecondSignalEndsTheProgram) {
  EXPECT_EXIT(BeSignalledTwice(), testing::KilledBySignal(SIGINT), "");
}

TEST_F(SignalWatchDeathTest, LeavesAloneWhatWasIgnored) {
  EXPECT_EXIT(BeSignalledWhileIgnoringThat(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace mayfly::cli
