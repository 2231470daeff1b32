#include "base/thread_pool.h"

#include <atomic>
#include <numeric>
#include <pthread.h>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "base/mutex.h"

namespace mayfly {
namespace {

TEST(ThreadPool, RunsInTheOrderGiven) {
  std::vector<int> ran;
  {
    ThreadPool pool("order", 1);
    for (int i = 0; i < 1000; ++i) pool.Run([&ran, i] { ran.push_back(i); });
  }
  std::vector<int> expected(1000);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(ran, expected);
}

TEST(ThreadPool, RunsAllThatWasGivenBeforeItIsDestroyed) {
  std::atomic<int> count = 0;
  {
    ThreadPool pool("drain", 4);
    for (int i = 0; i < 10'000; ++i) pool.Run([&count] { ++count; });
  }
  EXPECT_EQ(count, 10'000);
}

// Each of two closures waits for the other, so one thread alone would never finish.
TEST(ThreadPool, RunsOnAllItsThreadsAtOnce) {
  Mutex mutex;
  ConditionVariable changed;
  int arrived = 0;
  {
    ThreadPool pool("both", 2);
    for (int i = 0; i < 2; ++i) {
      pool.Run([&] {
        MutexLock lock(&mutex);
        ++arrived;
        changed.NotifyAll();
        while (arrived < 2) changed.Wait(&mutex);
      });
    }
  }
  EXPECT_EQ(arrived, 2);
}

TEST(ThreadPool, AcceptsWorkFromItsOwnThreads) {
  std::atomic<int> count = 0;
  {
    ThreadPool pool("nested", 2);
    pool.Run([&] {
      for (int i = 0; i < 10; ++i) pool.Run([&count] { ++count; });
    });
  }
  EXPECT_EQ(count, 10);
}

TEST(ThreadPool, NamesItsThreads) {
  std::string name(16, '\0');
  Mutex mutex;
  ConditionVariable changed;
  bool named = false;
  {
    ThreadPool pool("a name that is too long", 1);
    pool.Run([&] {
      MutexLock lock(&mutex);
      while (!named) changed.Wait(&mutex);
      pthread_getname_np(pthread_self(), name.data(), name.size());
    });
    // The constructor names a thread after it started: wait for it to return.
    MutexLock lock(&mutex);
    named = true;
    changed.NotifyAll();
  }
  EXPECT_STREQ(name.c_str(), "a name that is ");
}

TEST(ThreadPool, RefusesToHaveNoThreads) {
  EXPECT_DEATH(ThreadPool("none", 0), "at least one thread");
}

}  // namespace
}  // namespace mayfly
