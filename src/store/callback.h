// How requests to the store are answered.
#pragma once

#include "absl/functional/any_invocable.h"

namespace mayfly {

// Called once, and never while a lock of the store's is held.
template <typename T>
using Callback = absl::AnyInvocable<void(T)>;

}  // namespace mayfly
