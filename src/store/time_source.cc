#include "store/time_source.h"

#include <utility>

#include "base/error.h"

namespace mayfly {

absl::StatusOr<std::unique_ptr<TimeSource>> TimeSource::Start(Clock* clock, Registry* registry,
                                                              absl::Duration clock_jump_grace) {
  const auto text = registry->LoadTimeRecord();
  RETURN_IF_ERROR(text.status());
  std::optional<TimeRecord> saved;
  if (text->has_value()) {
    auto decoded = TimeRecord::Decode(**text);
    if (decoded.ok()) saved = *std::move(decoded);
  }
  // The first put of a tenant makes its record, which stays.
  const auto tenants = registry->Tenants();
  RETURN_IF_ERROR(tenants.status());
  const auto stored = !text->has_value() && tenants->empty() ? Timekeeper::Stored::kNothing
                                                             : Timekeeper::Stored::kAnything;
  auto source = std::unique_ptr<TimeSource>(new TimeSource(
      clock, registry,
      Timekeeper::Start(saved, clock->Read(), clock->BootId(), clock_jump_grace, stored)));
  RETURN_IF_ERROR(source->Persist());
  return source;
}

Now TimeSource::Read() {
  MutexLock lock(&mutex_);
  return timekeeper_.Read(clock_->Read());
}

absl::Status TimeSource::Persist() {
  std::string record;
  {
    MutexLock lock(&mutex_);
    timekeeper_.Read(clock_->Read());
    record = timekeeper_.Record().Encode();
  }
  return registry_->SaveTimeRecord(record);
}

std::optional<absl::Duration> TimeSource::disagreement() {
  MutexLock lock(&mutex_);
  if (!timekeeper_.disagrees()) return std::nullopt;
  return timekeeper_.disagreement();
}

}  // namespace mayfly
