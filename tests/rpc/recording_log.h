// A Log that records its lines, each as "message name=value ...".
#pragma once

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "base/mutex.h"
#include "rpc/log.h"

namespace mayfly {

class RecordingLog : public Log {
 public:
  bool Shows(Config::LogLevel) const override { return true; }
  void Write(Config::LogLevel, absl::string_view message,
             std::initializer_list<LogField> fields) override {
    std::string line(message);
    for (const LogField& field : fields) {
      std::visit([&](const auto& value) { absl::StrAppend(&line, " ", field.name, "=", value); },
                 field.value);
    }
    MutexLock lock(&mutex_);
    lines_.push_back(std::move(line));
  }

  std::vector<std::string> lines() {
    MutexLock lock(&mutex_);
    return lines_;
  }

 private:
  Mutex mutex_;
  std::vector<std::string> lines_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
