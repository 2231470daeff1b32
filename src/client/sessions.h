// The Sessions of a core: one that takes requests, and those before it that wait for their last
// answers.
//
// A session takes requests for a minute, so that it ends long before the server cuts it off for
// the age of its connection, and until the certificate is replaced. Then the next request opens
// another.
#pragma once

#include <memory>
#include <vector>

#include "base/mutex.h"
#include "client/session.h"

namespace mayfly::client {

class Core;

// Thread-safe.
class Sessions : public std::enable_shared_from_this<Sessions> {
 public:
  Sessions(std::shared_ptr<Deadlines> deadlines, const SessionTimes& times)
      : deadlines_(std::move(deadlines)), times_(times) {}

  // The call holds the core until it is answered.
  void Send(const Core& core, const Session::Entry& entry) EXCLUDES_LOCK(mutex_);
  struct Place {
    std::shared_ptr<Session> session;
    uint64_t subscription = 0;
  };
  // A subscription on the session that takes requests.
  Place Attach(const Core& core, const std::weak_ptr<Session::Feed>& feed) EXCLUDES_LOCK(mutex_);
  // Cancels all. No request may be under way.
  void Close() EXCLUDES_LOCK(mutex_);
  // By a session whose stream has ended.
  void OnEnd(const Session* session) EXCLUDES_LOCK(mutex_);

 private:
  std::shared_ptr<Session> Current(const Core& core) EXCLUDES_LOCK(mutex_);
  // `session` takes no more requests.
  void Replace(const std::shared_ptr<Session>& session) EXCLUDES_LOCK(mutex_);

  const std::shared_ptr<Deadlines> deadlines_;
  const SessionTimes times_;
  Mutex mutex_;
  std::shared_ptr<Session> current_ GUARDED_BY(mutex_);  // null: the next request opens one
  std::vector<std::shared_ptr<Session>> retired_ GUARDED_BY(mutex_);
};

}  // namespace mayfly::client
