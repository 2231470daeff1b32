// A Mailbox collects the answers to requests of an event loop, which it wakes by a file descriptor:
// once for all answers that are there by the time the loop looks.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/strings/string_view.h"

#include "base/mutex.h"
#include "python_native/request.h"

namespace mayfly::python {

// Thread-safe.
class Mailbox {
 public:
  struct Letter {
    uint64_t key;  // the loop's name for the request
    std::shared_ptr<Request> request;
  };

  Mailbox();
  ~Mailbox();
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  // An eventfd: readable while there are letters.
  int descriptor() const { return descriptor_; }
  void Put(Letter letter) EXCLUDES_LOCK(mutex_);
  std::vector<Letter> TakeAll() EXCLUDES_LOCK(mutex_);

 private:
  const int descriptor_;
  Mutex mutex_;
  std::vector<Letter> letters_ GUARDED_BY(mutex_);
};

// Its answer goes to a mailbox.
class MailedRequest : public Request, public std::enable_shared_from_this<MailedRequest> {
 public:
  MailedRequest(int method, uint64_t key, std::shared_ptr<Mailbox> mailbox)
      : Request(method), key_(key), mailbox_(std::move(mailbox)) {}

 private:
  void OnAnswer() override { mailbox_->Put({key_, shared_from_this()}); }

  const uint64_t key_;
  const std::shared_ptr<Mailbox> mailbox_;
};

}  // namespace mayfly::python
