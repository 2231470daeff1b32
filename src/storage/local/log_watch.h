// A LogWatch tells when RocksDB begins another log. Thread-safe.
#pragma once

#include <functional>
#include <utility>

#include "rocksdb/listener.h"

#include "base/mutex.h"

namespace mayfly {

class LogWatch : public rocksdb::EventListener {
 public:
  // `on_log` is called on the thread of a write, which waits for it. Null: nobody is told any more;
  // no call is under way when this returns.
  void Notify(std::function<void()> on_log) EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    on_log_ = std::move(on_log);
  }

  // A memtable is sealed when its log is.
  void OnMemTableSealed(const rocksdb::MemTableInfo& /*info*/) override EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    if (on_log_ != nullptr) on_log_();
  }

 private:
  Mutex mutex_;
  std::function<void()> on_log_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
