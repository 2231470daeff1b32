// Check(condition, "what must hold"): a programmer's error ends the process, in release too.
#pragma once

namespace mayfly {

[[noreturn]] void CheckFailed(const char* file, int line, const char* what);

inline void Check(bool condition, const char* what, const char* file = __builtin_FILE(),
                  int line = __builtin_LINE()) {
  if (!condition) [[unlikely]] CheckFailed(file, line, what);
}

}  // namespace mayfly
