// The open streams, which are notified when the server drains. Otherwise they could last for hours.
// Thread-safe.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"

#include "base/mutex.h"

namespace mayfly {

class OpenStream {
 public:
  virtual ~OpenStream() = default;
  // Ends the stream soon, whatever the client does.
  virtual void Drain() = 0;
};

class OpenStreams {
 public:
  // A stream that is added after the drain has begun is notified at once.
  void Add(const std::shared_ptr<OpenStream>& stream) EXCLUDES_LOCK(mutex_) {
    {
      MutexLock lock(&mutex_);
      streams_[stream.get()] = stream;
      if (!draining_) return;
    }
    stream->Drain();
  }

  void Remove(OpenStream* stream) EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    streams_.erase(stream);
  }

  void Drain() EXCLUDES_LOCK(mutex_) {
    std::vector<std::shared_ptr<OpenStream>> open;
    {
      MutexLock lock(&mutex_);
      draining_ = true;
      for (const auto& [stream, weak] : streams_) {
        if (auto shared = weak.lock()) open.push_back(std::move(shared));
      }
    }
    for (const auto& stream : open) stream->Drain();
  }

 private:
  Mutex mutex_;
  bool draining_ GUARDED_BY(mutex_) = false;
  absl::flat_hash_map<OpenStream*, std::weak_ptr<OpenStream>> streams_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
