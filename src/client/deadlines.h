// The Deadlines of a core: everything on it that has to happen at a certain time.
//
// One alarm of the core's completion queue is set for the earliest deadline. Listeners are called
// on the core's thread, up to a few milliseconds late, and without a lock. Deadlines own neither
// their listeners nor the core; an alarm that is set keeps the core's thread running until Close.
//
// Owners use this class through a Deadline, which removes its entry when it is destroyed.
#pragma once

#include <memory>
#include <optional>

#include "absl/time/time.h"
#include <grpcpp/alarm.h>

#include "base/mutex.h"
#include "client/deadline_set.h"
#include "client/dispatcher.h"

namespace mayfly::client {

// Thread-safe. Its lock is taken after all others.
class Deadlines : public Completion, public std::enable_shared_from_this<Deadlines> {
 public:
  class Listener {
   public:
    virtual ~Listener() = default;
    // On the core's thread. May still be called when the deadline is moved or cleared by another
    // thread at the same time.
    virtual void OnDeadline() = 0;
  };
  using Set = DeadlineSet<std::weak_ptr<Listener>>;

  explicit Deadlines(const std::shared_ptr<Dispatcher>& dispatcher) : dispatcher_(dispatcher) {}

  Set::Key Add(absl::Duration due, std::weak_ptr<Listener> listener) EXCLUDES_LOCK(mutex_);
  void Remove(const Set::Key& key) EXCLUDES_LOCK(mutex_);
  // No listener is called any more.
  void Close() EXCLUDES_LOCK(mutex_);

  Then OnCompletion(bool ok) override EXCLUDES_LOCK(mutex_);

 private:
  std::shared_ptr<Listener> TakeDue(size_t* left) EXCLUDES_LOCK(mutex_);
  void Arm() REQUIRES_LOCK(mutex_);

  const std::weak_ptr<Dispatcher> dispatcher_;
  Mutex mutex_;
  bool closed_ GUARDED_BY(mutex_) = false;
  Set set_ GUARDED_BY(mutex_);
  // The alarm that is set, and references to keep until it completes.
  std::unique_ptr<grpc::Alarm> alarm_ GUARDED_BY(mutex_);
  absl::Duration armed_for_ GUARDED_BY(mutex_) = absl::InfiniteDuration();
  std::shared_ptr<Dispatcher> armed_dispatcher_ GUARDED_BY(mutex_);
  std::shared_ptr<Deadlines> armed_self_ GUARDED_BY(mutex_);
};

// One deadline of its owner, which can be moved. Guarded by the owner's lock.
class Deadline {
 public:
  explicit Deadline(std::shared_ptr<Deadlines> deadlines) : deadlines_(std::move(deadlines)) {}
  ~Deadline() { Clear(); }
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

  // In place of the deadline that was set before. Infinite: never.
  void Set(absl::Duration due, std::weak_ptr<Deadlines::Listener> listener);
  // Keeps a deadline that was set before and is earlier; the owner clears it when it has passed.
  void SetNoLaterThan(absl::Duration due, std::weak_ptr<Deadlines::Listener> listener);
  void Clear();

 private:
  const std::shared_ptr<Deadlines> deadlines_;
  std::optional<Deadlines::Set::Key> key_;
};

}  // namespace mayfly::client
