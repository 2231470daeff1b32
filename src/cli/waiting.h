// A Waiting shows how long a command has been waiting, until the first piece of an output comes.
#pragma once

#include <memory>
#include <thread>

#include "base/mutex.h"
#include "cli/progress_bar.h"
#include "mayfly/payload_io.h"

namespace mayfly::cli {

class Waiting {
 public:
  // `bar` must outlive this object.
  explicit Waiting(ProgressBar* bar);
  // Stops.
  ~Waiting();
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

  // Clears the line: what follows may be written to the same terminal.
  void Stop() EXCLUDES_LOCK(mutex_);

 private:
  void Run() EXCLUDES_LOCK(mutex_);

  ProgressBar* const bar_;
  Mutex mutex_;
  ConditionVariable changed_;
  bool is_over_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

// A sink that stops the waiting, if there is one, before it takes anything.
class SinkAfterWaiting : public client::PayloadSink {
 public:
  SinkAfterWaiting(client::PayloadSink* sink, Waiting* waiting) : sink_(sink), waiting_(waiting) {}

  absl::StatusOr<uint64_t> KeptBytes(const client::PayloadVersion& version) override {
    StopWaiting();
    return sink_->KeptBytes(version);
  }
  absl::StatusOr<size_t> ReadKept(uint64_t offset, char* buffer, size_t size) override {
    return sink_->ReadKept(offset, buffer, size);
  }
  absl::Status WriteAt(uint64_t offset, absl::string_view data) override {
    StopWaiting();
    return sink_->WriteAt(offset, data);
  }
  absl::Status Finish(uint64_t size) override {
    StopWaiting();
    return sink_->Finish(size);
  }

 private:
  void StopWaiting() const {
    if (waiting_ != nullptr) waiting_->Stop();
  }

  client::PayloadSink* const sink_;
  Waiting* const waiting_;
};

}  // namespace mayfly::cli
