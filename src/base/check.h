// Check(condition, "the invariant"): a violated invariant ends the process, also in release builds.
#pragma once

namespace mayfly {

[[noreturn]] void CheckFailed(const char* file, int line, const char* what);

inline void Check(bool condition, const char* what, const char* file = __builtin_FILE(),
                  int line = __builtin_LINE()) {
  if (!condition) [[unlikely]] CheckFailed(file, line, what);
}

}  // namespace mayfly
