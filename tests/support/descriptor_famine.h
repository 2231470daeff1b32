// While a DescriptorFamine exists, this process cannot open files (EMFILE).
#pragma once

#include <unistd.h>

#include <sys/resource.h>

#include "base/check.h"

namespace mayfly {

class DescriptorFamine {
 public:
  DescriptorFamine() {
    Check(getrlimit(RLIMIT_NOFILE, &before_) == 0, "the limit of open files can be read");
    // The lowest that is free: the next one to be given out.
    const int next = dup(STDERR_FILENO);
    Check(next >= 0 && close(next) == 0, "a descriptor is free");
    rlimit lowered = before_;
    lowered.rlim_cur = static_cast<rlim_t>(next);
    Check(setrlimit(RLIMIT_NOFILE, &lowered) == 0, "the limit of open files can be lowered");
  }
  ~DescriptorFamine() { Check(setrlimit(RLIMIT_NOFILE, &before_) == 0, "and raised again"); }
  DescriptorFamine(const DescriptorFamine&) = delete;
  DescriptorFamine& operator=(const DescriptorFamine&) = delete;

 private:
  rlimit before_ = {};
};

}  // namespace mayfly
