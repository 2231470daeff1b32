// A Timekeeper computes the current time (base/now.h) when the machine's clocks may be wrong.
//
// It compares two readings: the wall clock, and *steady*, which starts from the wall clock at the
// first start after a boot and then follows CLOCK_BOOTTIME, including suspension. Reads of a
// payload are rejected when either is past its deadline, and the payload is destroyed when both
// are.
//
//   event                                         steady
//   restart, same boot                            continues from the record, whatever the wall says
//   new boot, no record or a damaged one          the wall, not below the high-water mark
//   readings agree to kAgreementTolerance         follows BOOTTIME; the high-water mark rises
//   they disagree                                 follows BOOTTIME; disagrees() at once
//   the same disagreement lasts the grace out     becomes the wall if that is synchronised or ahead
//
// After a boot nothing is destroyed until the kernel reports that the wall clock is synchronised,
// or the grace has passed. A restart neither shortens this wait nor restarts the wait of a
// disagreement: both are in the record. The high-water mark does not rise during that wait, because
// a steady reading that was just taken from the wall clock does not confirm it.
//
// A store in which nothing was ever put does not wait: all its payloads will be stored on the steady
// clock of this boot, which measures their time to live whatever the wall clock says. Its high-water
// mark waits all the same.
//
// A pure value: reads no clock and does no I/O. Its owner passes it readings at least every few
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

// The state that must survive a restart, as of one reading. Unix milliseconds, except for fields
// marked BOOTTIME: milliseconds since the boot that boot_id identifies.
struct TimeRecord {
  static constexpr int64_t kAgreeing = -1;
  static constexpr size_t kEncodedBytesMax = 512;

  std::string boot_id;
  int64_t boottime_ms = 0;  // on BOOTTIME
  int64_t wall_ms = 0;
  int64_t steady_ms = 0;
  int64_t high_water_ms = 0;                 // the latest time that both readings confirmed
  int64_t disagreeing_since_ms = kAgreeing;  // on BOOTTIME
  // On BOOTTIME: nothing is destroyed, and the high-water mark does not rise, before; 0: done.
  // Negative: as long as its absolute value says, only the mark waits.
  int64_t erase_from_ms = 0;

  // Lines of text with a checksum, so that an operator can read the file.
  std::string Encode() const;
  // DATA_LOSS if `text` was not written by Encode.
  static absl::StatusOr<TimeRecord> Decode(absl::string_view text);
};

class Timekeeper {
 public:
  // The maximum difference of two readings that agree. BOOTTIME is slewed together with the wall
  // clock, so only steps make them differ. This tolerates a leap second (1 s) and the small steps
  // of time services. It is also the maximum undetected delay of destruction.
  static constexpr absl::Duration kAgreementTolerance = absl::Seconds(2);

  // Says what the store may hold when there is no record.
  enum class Stored { kAnything, kNothing };

  // `saved` is the last record, or nullopt if there is none that can be decoded. An empty (unknown)
  // boot_id counts as a new boot.
  static Timekeeper Start(const std::optional<TimeRecord>& saved, const ClockReading& reading,
                          const std::string& boot_id, absl::Duration clock_jump_grace,
                          Stored stored = Stored::kAnything);

  Now Read(const ClockReading& reading);

  // As of the last reading.
  const TimeRecord& Record() const { return record_; }
  bool disagrees() const { return record_.disagreeing_since_ms != TimeRecord::kAgreeing; }
  // How far the wall clock is ahead of steady; negative if it is behind.
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
