// The log of mayflyd: one JSON object per line, so that no client can forge a line.
//
//   {"time":"2026-03-04T05:06:07.089Z","level":"info","message":"serving","port":7443}
//
// Every line is flushed at once, because the last line before a crash matters most. Thread-safe.
#pragma once

#include <memory>

#include "absl/status/statusor.h"

#include "config/config.h"
#include "rpc/log.h"

namespace spdlog {
class logger;
}

namespace mayfly {

class JsonLog : public Log {
 public:
  // Appends to the configured file, or writes to standard error. FAILED_PRECONDITION if the file
  // cannot be opened.
  static absl::StatusOr<std::unique_ptr<JsonLog>> Open(const Config::Log& config);

  bool Shows(Config::LogLevel level) const override;
  void Write(Config::LogLevel level, absl::string_view message,
             std::initializer_list<LogField> fields) override;

 private:
  explicit JsonLog(std::shared_ptr<spdlog::logger> logger) : logger_(std::move(logger)) {}

  const std::shared_ptr<spdlog::logger> logger_;
};

}  // namespace mayfly
