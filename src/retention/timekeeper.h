// A Timekeeper tells what time it is when the machine's clocks may be wrong (base/now.h).
//
// It compares two readings: the wall clock, and *steady*, which starts from the wall clock at the
// first start after a boot and from then on follows CLOCK_BOOTTIME, suspension included. A payload
// is refused when either says that its time is over, and destroyed only when both say so.
//
//   what happens                                  steady
//   restart, same boot                            continues from the record, whatever the wall says
//   new boot, no record or a damaged one          the wall, not below the high-water mark
//   readings agree to kAgreementTolerance         follows BOOTTIME; the high-water mark rises
//   they disagree                                 follows BOOTTIME; disagrees() at once
//   the same disagreement lasts the grace out     becomes the wall if that is synchronised or ahead
//
// After a boot nothing is destroyed before the kernel says that the wall clock is synchronised, or
// the grace has passed. A restart does not cut this wait short, nor does it start the wait for a
// disagreement again: both are part of the record. Until that wait is over the high-water mark
// rests too, since a steady reading just taken from the wall is no second witness to it.
//
// A pure value: reads no clock and does no I/O. Its owner feeds it readings, at least every few
// seconds, and persists Record() as often. Not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "base/clock.h"
#include "base/now.h"

namespace mayfly {

// What has to outlive the process, as of one reading. Unix milliseconds, but for what is said to be
// on BOOTTIME: milliseconds since the boot that boot_id names.
struct TimeRecord {
  static constexpr int64_t kAgreeing = -1;
  static constexpr size_t kEncodedBytesMax = 512;

  std::string boot_id;
  int64_t boottime_ms = 0;  // on BOOTTIME
  int64_t wall_ms = 0;
  int64_t steady_ms = 0;
  int64_t high_water_ms = 0;                 // the latest time that both readings vouched for
  int64_t disagreeing_since_ms = kAgreeing;  // on BOOTTIME
  int64_t erase_from_ms = 0;                 // on BOOTTIME: nothing is destroyed before; 0: done

  // Lines of text with a checksum, so that an operator can read the file.
  std::string Encode() const;
  // DATA_LOSS when `text` is not what Encode wrote.
  static absl::StatusOr<TimeRecord> Decode(absl::string_view text);
};

class Timekeeper {
 public:
  // How far the readings may be apart and still agree. BOOTTIME is slewed together with the wall
  // clock, so only steps part them: this lets a leap second (1 s) and the small steps of time
  // services pass, and is the most by which destruction can come late unnoticed.
  static constexpr absl::Duration kAgreementTolerance = absl::Seconds(2);

  // `saved` is the last record, or nullopt when there is none that can be decoded. An empty boot_id
  // (unknown) counts as a new boot.
  static Timekeeper Start(const std::optional<TimeRecord>& saved, const ClockReading& reading,
                          const std::string& boot_id, absl::Duration clock_jump_grace);

  Now Read(const ClockReading& reading);

  // As of the last reading.
  const TimeRecord& Record() const { return record_; }
  bool disagrees() const { return record_.disagreeing_since_ms != TimeRecord::kAgreeing; }
  // By how much the wall is ahead of steady; negative when it is behind.
  absl::Duration disagreement() const { return absl::Milliseconds(disagreement_ms()); }

 private:
  Timekeeper(TimeRecord record, int64_t grace_ms)
      : record_(std::move(record)), grace_ms_(grace_ms) {}

  int64_t disagreement_ms() const { return record_.wall_ms - record_.steady_ms; }
  void JudgeDisagreement(int64_t disagreement_before_ms);
  bool MayAnchorAnew(bool synchronised) const;
  void AnchorAnew(bool synchronised);

  TimeRecord record_;
  int64_t grace_ms_;
  int64_t elapsed_ms_ = 0;  // since the record, on BOOTTIME
};

}  // namespace mayfly
