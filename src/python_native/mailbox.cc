#include "python_native/mailbox.h"

#include <unistd.h>
#include <utility>

#include <sys/eventfd.h>

namespace mayfly::python {

Mailbox::Mailbox() : descriptor_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

Mailbox::~Mailbox() {
  if (descriptor_ >= 0) close(descriptor_);
}

void Mailbox::Put(Letter letter) {
  MutexLock lock(&mutex_);
  letters_.push_back(std::move(letter));
  // Under the lock, so that it is readable exactly while there are letters.
  if (letters_.size() == 1) eventfd_write(descriptor_, 1);
}

std::vector<Mailbox::Letter> Mailbox::TakeAll() {
  std::vector<Letter> letters;
  MutexLock lock(&mutex_);
  eventfd_t count = 0;
  eventfd_read(descriptor_, &count);
  letters.swap(letters_);
  return letters;
}

}  // namespace mayfly::python
