// The thread that drives a Committer: it makes a group of what has collected, again and again.
#pragma once

#include <cstdint>
#include <pthread.h>
#include <thread>

#include "absl/strings/str_cat.h"

#include "store/shard/committer.h"

namespace mayfly {

class CommitThread {
 public:
  // `committer` outlives it.
  CommitThread(uint32_t number, Committer* committer)
      : committer_(*committer), thread_([this] {
          while (committer_.Wait()) committer_.Step();
        }) {
    pthread_setname_np(thread_.native_handle(), absl::StrCat("commit-", number).c_str());
  }
  // Finishes what is queued, then joins.
  ~CommitThread() {
    committer_.Stop();
    thread_.join();
  }
  CommitThread(const CommitThread&) = delete;
  CommitThread& operator=(const CommitThread&) = delete;

 private:
  Committer& committer_;
  std::thread thread_;
};

}  // namespace mayfly
