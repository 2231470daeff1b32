#include "server/logging.h"

#include <array>
#include <string>
#include <unistd.h>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include <nlohmann/json.hpp>
#include <spdlog/logger.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

namespace mayfly {
namespace {

constexpr std::array<const char*, 6> kLevelNames = {"trace",   "debug", "info",
                                                    "warning", "error", "critical"};

spdlog::level::level_enum SpdlogLevel(Config::LogLevel level) {
  return static_cast<spdlog::level::level_enum>(level);
}

std::string Text(absl::string_view text) { return std::string(text.data(), text.size()); }

nlohmann::json JsonValue(const LogField& field) {
  if (const auto* number = std::get_if<int64_t>(&field.value)) return *number;
  return Text(std::get<absl::string_view>(field.value));
}

}  // namespace

absl::StatusOr<std::unique_ptr<JsonLog>> JsonLog::Open(const Config::Log& config) {
  spdlog::sink_ptr sink;
  try {
    if (config.file.empty()) {
      sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    } else {
      sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(config.file);
    }
  } catch (const spdlog::spdlog_ex&) {
    return absl::FailedPreconditionError(
        absl::StrCat("log.file ", config.file, " cannot be opened for appending by user ",
                     geteuid(), ": correct the setting, or let this user write there"));
  }
  auto logger = std::make_shared<spdlog::logger>("mayflyd", std::move(sink));
  logger->set_pattern("%v");
  logger->set_level(SpdlogLevel(config.level));
  logger->flush_on(spdlog::level::trace);
  return std::unique_ptr<JsonLog>(new JsonLog(std::move(logger)));
}

bool JsonLog::Shows(Config::LogLevel level) const {
  return logger_->should_log(SpdlogLevel(level));
}

void JsonLog::Write(Config::LogLevel level, absl::string_view message,
                    std::initializer_list<LogField> fields) {
  if (!Shows(level)) return;
  nlohmann::ordered_json line = {
      {"time", absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone())},
      {"level", kLevelNames[static_cast<size_t>(level)]},
      {"message", Text(message)},
  };
  for (const LogField& field : fields) line[Text(field.name)] = JsonValue(field);
  // Invalid UTF-8 is replaced by U+FFFD, so that every line is valid JSON.
  logger_->log(SpdlogLevel(level),
               line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

}  // namespace mayfly
