#include "crypto/random.h"

#include <array>
#include <set>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include "gtest/gtest.h"
#include <sys/wait.h>

#include "base/mutex.h"

namespace mayfly {
namespace {

using Draw = std::array<uint8_t, 16>;

Draw DrawOnce() {
  Draw draw;
  FillRandom(absl::MakeSpan(draw));
  return draw;
}

TEST(FillRandom, FillsEveryByteOfEverySize) {
  for (size_t size : {0, 1, 20, 24, 255, 256, 257, 4096, 4097, 100000}) {
    std::vector<uint8_t> ever_set(size);
    for (int round = 0; round < 16; ++round) {
      std::vector<uint8_t> out(size);
      FillRandom(absl::MakeSpan(out));
      for (size_t i = 0; i < size; ++i) ever_set[i] |= out[i];
    }
    // A byte stays zero by chance once in 2^128.
    for (size_t i = 0; i < size; ++i) ASSERT_NE(ever_set[i], 0) << "byte " << i << " of " << size;
  }
}

TEST(FillRandom, WritesNothingPastTheEnd) {
  for (size_t size : {0, 1, 20, 256, 257}) {
    std::vector<uint8_t> out(size + 8, 0xa5);
    FillRandom(absl::MakeSpan(out).subspan(0, size));
    for (size_t i = size; i < out.size(); ++i) EXPECT_EQ(out[i], 0xa5);
  }
}

TEST(FillRandom, NeverRepeatsAcrossRefillsAndThreads) {
  constexpr size_t kThreadCount = 4;
  constexpr size_t kDrawCount = 10000;
  Mutex mutex;
  std::set<Draw> seen;
  std::vector<std::thread> threads;
  for (size_t i = 0; i < kThreadCount; ++i) {
    threads.emplace_back([&] {
      std::vector<Draw> draws;
      for (size_t n = 0; n < kDrawCount; ++n) draws.push_back(DrawOnce());
      MutexLock lock(&mutex);
      seen.insert(draws.begin(), draws.end());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(seen.size(), kThreadCount * kDrawCount);
}

TEST(FillRandom, GivesAForkedChildOtherBytes) {
  DrawOnce();  // so that the buffer to be inherited is not empty
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const Draw draw = DrawOnce();
    const bool written = write(ends[1], draw.data(), draw.size()) == ssize_t{draw.size()};
    _exit(written ? 0 : 1);
  }
  const Draw ours = DrawOnce();
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  Draw theirs{};
  ASSERT_EQ(read(ends[0], theirs.data(), theirs.size()), ssize_t{theirs.size()});
  EXPECT_NE(theirs, ours);
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
}  // namespace mayfly
