// The server's log: one event at a time, with a sentence and fields.
//
// A field never holds payload, labels, a token or a whole call id. Implementations are thread-safe.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <variant>

#include "absl/strings/string_view.h"

#include "config/config.h"

namespace mayfly {

struct LogField {
  absl::string_view name;
  std::variant<absl::string_view, int64_t> value;
};

class Log {
 public:
  virtual ~Log() = default;
  // False if Write would drop a line of this level, so that the caller need not prepare it.
  virtual bool Shows(Config::LogLevel level) const = 0;
  virtual void Write(Config::LogLevel level, absl::string_view message,
                     std::initializer_list<LogField> fields) = 0;
};

}  // namespace mayfly
