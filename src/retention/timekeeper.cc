#include "retention/timekeeper.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <limits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "base/bytes.h"
#include "base/crc32c.h"

namespace mayfly {
namespace {

constexpr absl::string_view kFirstLine = "mayfly clock 1";
const int64_t kToleranceMs = absl::ToInt64Milliseconds(Timekeeper::kAgreementTolerance);

struct NumberField {
  absl::string_view name;
  int64_t TimeRecord::*member;
};
constexpr NumberField kNumberFields[] = {
    {"boottime_ms", &TimeRecord::boottime_ms},
    {"wall_ms", &TimeRecord::wall_ms},
    {"steady_ms", &TimeRecord::steady_ms},
    {"high_water_ms", &TimeRecord::high_water_ms},
    {"disagreeing_since_ms", &TimeRecord::disagreeing_since_ms},
    {"erase_from_ms", &TimeRecord::erase_from_ms},
};

std::string ChecksumLine(absl::string_view lines_before) {
  return absl::StrCat("crc32c ", absl::Hex(Crc32c(AsBytes(lines_before)), absl::kZeroPad8), "\n");
}

absl::Status Damaged(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("clock record ", what));
}

}  // namespace

std::string TimeRecord::Encode() const {
  std::string text = absl::StrCat(kFirstLine, "\nboot_id ", boot_id, "\n");
  for (const NumberField& field : kNumberFields) {
    absl::StrAppend(&text, field.name, " ", this->*field.member, "\n");
  }
  return text + ChecksumLine(text);
}

absl::StatusOr<TimeRecord> TimeRecord::Decode(absl::string_view text) {
  const size_t checksum_bytes = ChecksumLine("").size();
  if (text.size() < checksum_bytes) return Damaged("is too short");
  const absl::string_view body = text.substr(0, text.size() - checksum_bytes);
  if (text.substr(body.size()) != ChecksumLine(body)) return Damaged("has a wrong checksum");

  const std::vector<absl::string_view> lines = absl::StrSplit(body, '\n');
  // The checksum is correct, so any difference here comes from another version. The last line is
  // empty.
  if (lines.size() != std::size(kNumberFields) + 3 || lines[0] != kFirstLine) {
    return Damaged("has an unknown format");
  }
  TimeRecord record;
  absl::string_view rest = lines[1];
  if (!absl::ConsumePrefix(&rest, "boot_id ")) return Damaged("has no boot_id");
  record.boot_id = std::string(rest);
  for (size_t i = 0; i < std::size(kNumberFields); ++i) {
    const NumberField& field = kNumberFields[i];
    rest = lines[i + 2];
    if (!absl::ConsumePrefix(&rest, field.name) ||
        !absl::SimpleAtoi(rest, &(record.*field.member))) {
      return Damaged(absl::StrCat("has no ", field.name));
    }
  }
  return record;
}

Timekeeper Timekeeper::Start(const std::optional<TimeRecord>& saved, const ClockReading& reading,
                             const std::string& boot_id, absl::Duration clock_jump_grace,
                             Stored stored) {
  const int64_t wall_ms = absl::ToUnixMillis(reading.wall);
  const int64_t boottime_ms = absl::ToInt64Milliseconds(reading.boottime);
  const int64_t grace_ms = absl::ToInt64Milliseconds(clock_jump_grace);
  const bool same_boot = saved.has_value() && !boot_id.empty() && saved->boot_id == boot_id &&
                         saved->boottime_ms <= boottime_ms;
  TimeRecord record;
  if (same_boot) {
    record = *saved;
    // A shorter grace than before counts at once.
    record.erase_from_ms =
        std::clamp(record.erase_from_ms, -(boottime_ms + grace_ms), boottime_ms + grace_ms);
  } else {
    record = {
        .boot_id = boot_id,
        .boottime_ms = boottime_ms,
        .wall_ms = wall_ms,
        .steady_ms = saved.has_value() ? std::max(wall_ms, saved->high_water_ms) : wall_ms,
        .high_water_ms =
            saved.has_value() ? saved->high_water_ms : std::numeric_limits<int64_t>::min(),
        .erase_from_ms = boottime_ms + grace_ms,
    };
    if (!saved.has_value() && stored == Stored::kNothing) {
      record.erase_from_ms = -record.erase_from_ms;
    }
  }
  Timekeeper timekeeper(std::move(record), grace_ms);
  timekeeper.Read(reading);
  return timekeeper;
}

Now Timekeeper::Read(const ClockReading& reading) {
  const int64_t disagreement_before_ms = disagreement_ms();
  const int64_t boottime_ms = absl::ToInt64Milliseconds(reading.boottime);
  // The kernel never sets BOOTTIME back. If it does go back, time stands still for a moment.
  const int64_t passed_ms = std::max<int64_t>(0, boottime_ms - record_.boottime_ms);
  record_.steady_ms += passed_ms;
  elapsed_ms_ += passed_ms;
  record_.boottime_ms = boottime_ms;
  record_.wall_ms = absl::ToUnixMillis(reading.wall);

  if (reading.synchronised || boottime_ms >= std::abs(record_.erase_from_ms)) {
    record_.erase_from_ms = 0;
  }
  JudgeDisagreement(disagreement_before_ms);
  if (MayAnchorAnew(reading.synchronised)) AnchorAnew(reading.synchronised);

  const int64_t earlier_ms = std::min(record_.wall_ms, record_.steady_ms);
  const bool may_erase = record_.erase_from_ms <= 0;
  if (record_.erase_from_ms == 0 && !disagrees()) {
    record_.high_water_ms = std::max(record_.high_water_ms, earlier_ms);
  }
  return Now{
      .read_ms = std::max(record_.wall_ms, record_.steady_ms),
      .erase_ms = may_erase ? earlier_ms : Now::kNeverMs,
      .steady_ms = record_.steady_ms,
      .elapsed_ms = elapsed_ms_,
  };
}

void Timekeeper::JudgeDisagreement(int64_t disagreement_before_ms) {
  if (std::abs(disagreement_ms()) <= kToleranceMs) {
    record_.disagreeing_since_ms = TimeRecord::kAgreeing;
    return;
  }
  // If the wall clock jumps again, this is a new disagreement, which must last for the whole grace.
  const bool jumped = std::abs(disagreement_ms() - disagreement_before_ms) > kToleranceMs;
  if (jumped || !disagrees()) record_.disagreeing_since_ms = record_.boottime_ms;
}

bool Timekeeper::MayAnchorAnew(bool synchronised) const {
  if (!disagrees()) return false;
  if (record_.boottime_ms - record_.disagreeing_since_ms < grace_ms_) return false;
  return synchronised || disagreement_ms() > 0;
}

void Timekeeper::AnchorAnew(bool synchronised) {
  record_.steady_ms = record_.wall_ms;
  record_.disagreeing_since_ms = TimeRecord::kAgreeing;
  // A mark above a synchronised wall clock is wrong, and would put every later boot into the
  // future.
  if (synchronised) record_.high_water_ms = std::min(record_.high_water_ms, record_.wall_ms);
}

}  // namespace mayfly
