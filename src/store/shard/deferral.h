// A Deferral collects what a commit group would call back into, so that no callback runs while the
// group holds up others: who runs the group takes it all when the group has ended.
//
// It is in force for the thread that made it, as long as it lives. They do not nest.
#pragma once

#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"

#include "base/check.h"

namespace mayfly {

class Deferral {
 public:
  using Work = absl::AnyInvocable<void()>;

  Deferral() {
    Check(current_ == nullptr, "deferrals do not nest");
    current_ = this;
  }
  ~Deferral() { current_ = nullptr; }
  Deferral(const Deferral&) = delete;
  Deferral& operator=(const Deferral&) = delete;

  // The one in force on this thread, if any.
  static Deferral* Current() { return current_; }

  void Add(Work work) { works_.push_back(std::move(work)); }
  std::vector<Work> Take() { return std::exchange(works_, {}); }

 private:
  static inline thread_local Deferral* current_ = nullptr;
  std::vector<Work> works_;
};

}  // namespace mayfly
