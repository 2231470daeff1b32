// A CompactionWatch knows how much the compactions that run read, and so how much they may write.
// Thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "rocksdb/listener.h"

#include "base/mutex.h"

namespace mayfly {

class CompactionWatch : public rocksdb::EventListener {
 public:
  void OnCompactionBegin(rocksdb::DB* database, const rocksdb::CompactionJobInfo& job) override;
  void OnCompactionCompleted(rocksdb::DB* database, const rocksdb::CompactionJobInfo& job) override;

  uint64_t running_bytes() const EXCLUDES_LOCK(mutex_);

 private:
  mutable Mutex mutex_;
  absl::flat_hash_map<int, uint64_t> inputs_by_job_ GUARDED_BY(mutex_);
  uint64_t running_bytes_ GUARDED_BY(mutex_) = 0;
};

}  // namespace mayfly
