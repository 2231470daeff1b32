#include "storage/local/compaction_watch.h"

#include <filesystem>
#include <system_error>

namespace mayfly {

void CompactionWatch::OnCompactionBegin(rocksdb::DB* /*database*/,
                                        const rocksdb::CompactionJobInfo& job) {
  uint64_t bytes = 0;
  for (const std::string& path : job.input_files) {
    std::error_code error;
    const uintmax_t size = std::filesystem::file_size(path, error);
    if (!error) bytes += size;
  }
  MutexLock lock(&mutex_);
  inputs_by_job_[job.job_id] += bytes;
  running_bytes_ += bytes;
}

void CompactionWatch::OnCompactionCompleted(rocksdb::DB* /*database*/,
                                            const rocksdb::CompactionJobInfo& job) {
  MutexLock lock(&mutex_);
  const auto found = inputs_by_job_.find(job.job_id);
  if (found == inputs_by_job_.end()) return;
  running_bytes_ -= found->second;
  inputs_by_job_.erase(found);
}

uint64_t CompactionWatch::running_bytes() const {
  MutexLock lock(&mutex_);
  return running_bytes_;
}

}  // namespace mayfly
