// The Keyring holds a random key for each hour in which payloads are due, and ratchets it from second to
// second (hour_chain.h). Closing a second ends every payload that was due in it, however many there are,
// whatever became of their slots.
//
// Keys are made ahead (EnsureAhead), because a payload may only be sealed under a key that is already on
// the disk. An hour may get another key: when a wrong clock had its seconds closed too early and was
// corrected, since a closed second is never sealed under again. So keys have numbers, which are given once,
// and a payload's row names the key that sealed it. Keys leave this class only as what Extract derives
// from them.
//
// The file `keyring` is fixed in size and written in place; keyring_format.h has its bytes. Every change
// goes to copy a, sync, copy b, sync: at any moment one of the two is whole, and afterwards neither has
// the older chain key. A second closes in this order:
//
//   its leaf is forgotten, so nothing is sealed or opened under it any more
//   copy a is overwritten with the chain key of the next open second, and synced
//   copy b likewise
//
// A start writes the newer copy over the older one before anything is served. What overwriting cannot
// reach: stale flash pages, snapshots and copies made earlier.
//
// A failed write or sync leaves a copy old, new or damaged: nothing is changed any more (UNAVAILABLE), and
// the process must end and open the file again. Thread-safe: only Create, Open, EnsureAhead, Close and
// Rewrap wait for the disk.
#pragma once

#include <array>
#include <atomic>
#include <bitset>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "base/bytes.h"
#include "base/file_system.h"
#include "base/mutex.h"
#include "base/secret_bytes.h"
#include "keys/hour_chain.h"
#include "keys/keyring_format.h"

namespace mayfly {

inline constexpr int64_t kHourMs = int64_t{kSecondsPerHour} * 1000;
// Two hours more than the longest life of a payload: a key is there, synced, well before the first
// deadline that needs it.
inline constexpr int64_t kKeysAheadMs = 26 * kHourMs;
inline constexpr int64_t kDeadlineAheadMsMax = 24 * kHourMs;

// The hour whose key seals payloads that are due at that second.
constexpr Hour HourOfSecond(int64_t due_s) {
  const Hour hour = due_s / kSecondsPerHour;
  return due_s % kSecondsPerHour < 0 ? hour - 1 : hour;
}

// What a payload is sealed under, beside its slot's secret.
struct SecondRef {
  HourKeyNumber hour_key = 0;
  int64_t due_s = 0;
};

class Keyring {
 public:
  static bool Exists(FileSystem* file_system, const std::string& directory);
  // The error of Open for this root key; changes nothing.
  static absl::Status CheckRootKey(FileSystem* file_system, const std::string& directory,
                                   const SecretBytes& root_key);

  // A new keyring with keys for the hours ahead of `now_ms`. ALREADY_EXISTS when there is one:
  // a keyring that is made anew makes all that was sealed before unreadable.
  static absl::StatusOr<std::unique_ptr<Keyring>> Create(FileSystem* file_system,
                                                         const std::string& directory,
                                                         const SecretBytes& root_key,
                                                         const StoreId& store_id, int64_t now_ms);
  // NOT_FOUND when there is none, FAILED_PRECONDITION when the root key is another or the file is of an
  // older version, DATA_LOSS when it is damaged.
  static absl::StatusOr<std::unique_ptr<Keyring>> Open(FileSystem* file_system,
                                                       const std::string& directory,
                                                       const SecretBytes& root_key);

  const StoreId& store_id() const { return store_id_; }

  // Makes the keys that are missing between now and kKeysAheadMs later, which are usable once they
  // are durable. Touches the disk only when one is missing, so once an hour.
  absl::Status EnsureAhead(int64_t now_ms) EXCLUDES_LOCK(file_mutex_, mutex_);

  // A write or a sync has failed: nothing is changed any more.
  bool has_failed() const { return failed_; }

  // Closes the seconds that are over at `erase_ms` (base/now.h): those with due_s * 1000 <= erase_ms.
  // Writes nothing when nothing was sealed under them, two copies and two syncs otherwise.
  absl::Status Close(int64_t erase_ms) EXCLUDES_LOCK(file_mutex_, mutex_);

  // After Open every second counts as one under which something was sealed, since no record says which
  // were. A caller that has noted those of all stored payloads ends that.
  void NoteUse(int64_t due_s) EXCLUDES_LOCK(mutex_);
  void AllUsesAreNoted() EXCLUDES_LOCK(mutex_);

  // The number of the key that seals payloads due at that second. NOT_FOUND when there is none whose
  // second is open.
  absl::StatusOr<HourKeyNumber> NumberFor(int64_t due_s) EXCLUDES_LOCK(mutex_);

  // HKDF-Extract with the second's leaf as salt: 32 bytes. NOT_FOUND when the second is closed,
  // DATA_LOSS when the keyring never gave that number.
  absl::StatusOr<SecretBytes> Extract(const SecondRef& second, ByteSpan slot_secret) const
      EXCLUDES_LOCK(mutex_);

  // Whether Extract says NOT_FOUND for ever. Takes no lock.
  bool IsClosed(const SecondRef& second) const;

  // Seals every key with `new_root_key` in the other bank, reads that back, lets it count, and overwrites
  // the bank that counted before. At every moment, crashes included, exactly one of the two root keys
  // opens the file. Only after OK may the old one go.
  absl::Status Rewrap(const SecretBytes& new_root_key) EXCLUDES_LOCK(file_mutex_, mutex_);

  // The hours that have a key with open seconds, in order.
  std::vector<Hour> Hours() const EXCLUDES_LOCK(mutex_);
  // The hours in which a payload stored at `now_ms` may be due and that have no key: an alarm.
  std::vector<Hour> MissingHours(int64_t now_ms) const EXCLUDES_LOCK(mutex_);

 private:
  using Cells = std::array<KeyringCell, kKeyringCells>;

  // A key with open seconds.
  struct OpenKey {
    OpenKey(Hour its_hour, SecretBytes key, uint32_t first_open)
        : hour(its_hour), chain(std::move(key), first_open) {}

    const Hour hour;
    HourChain chain;
    // Seconds under which something was sealed, by this process or noted.
    std::bitset<kSecondsPerHour> used;
    // Something may have been sealed under any second.
    bool is_inherited = false;
  };

  // Who closed what, without a lock: a key of another number in that cell is closed.
  struct Frontier {
    std::atomic<HourKeyNumber> number{0};
    std::atomic<int64_t> open_from_s{0};
  };

  // The content of a file, as far as it counts.
  struct Loaded {
    size_t bank = 0;
    KeyringHeader header;
    Cells cells;
    std::array<SecretBytes, kKeyringCells> keys;  // of cells that are open
    std::string content;
  };
  static absl::StatusOr<Loaded> Load(FileSystem* file_system, const std::string& path,
                                     const SecretBytes& root_key);

  Keyring(const std::string& path, const SecretBytes& root_key, const KeyringHeader& header);

  // Writes the newer copy over the other, and zeros over the bank that does not count.
  absl::Status Mend(const Loaded& loaded) REQUIRES_LOCK(file_mutex_);
  void Adopt(Loaded loaded) EXCLUDES_LOCK(mutex_) REQUIRES_LOCK(file_mutex_);

  // The hours between now and `ahead_ms` later without a key that is open from now on.
  std::vector<Hour> HoursWithout(int64_t now_ms, int64_t ahead_ms) const REQUIRES_LOCK(mutex_);
  absl::StatusOr<HourKeyNumber> NextNumber(HourKeyNumber last) const REQUIRES_LOCK(mutex_);
  void AddKey(const KeyringCell& cell, SecretBytes key) REQUIRES_LOCK(mutex_);
  // Closes the seconds of one cell's key before `first_open`.
  void CloseBefore(size_t cell, uint32_t first_open) REQUIRES_LOCK(mutex_);
  KeyringCell CellNow(size_t cell, const SecretBytes& root_key) const REQUIRES_LOCK(mutex_)
      REQUIRES_LOCK(file_mutex_);

  absl::Status CheckUsable() const;
  // Passes `status` on; an error ends the use of this object.
  absl::Status Final(absl::Status status);
  // Copy a, sync, copy b, sync.
  absl::Status WriteCells(absl::Span<const KeyringCell> cells) REQUIRES_LOCK(file_mutex_);
  absl::Status WriteBank(size_t bank, const Cells& cells) REQUIRES_LOCK(file_mutex_);
  absl::Status WriteHeaders(size_t bank, const SecretBytes& root_key, const KeyringHeader& header)
      REQUIRES_LOCK(file_mutex_);
  absl::Status WipeBank(size_t bank) REQUIRES_LOCK(file_mutex_);
  absl::Status ReadBack(size_t bank, const SecretBytes& root_key) EXCLUDES_LOCK(mutex_)
      REQUIRES_LOCK(file_mutex_);

  const std::string path_;
  const StoreId store_id_;
  std::atomic<bool> failed_{false};

  // Held over every change of the file; taken before mutex_.
  mutable Mutex file_mutex_;
  std::unique_ptr<File> file_ GUARDED_BY(file_mutex_);
  SecretBytes root_key_ GUARDED_BY(file_mutex_);
  size_t bank_ GUARDED_BY(file_mutex_) = 0;
  uint64_t rotation_ GUARDED_BY(file_mutex_) = 0;
  Cells cells_ GUARDED_BY(file_mutex_);  // as in both copies

  mutable Mutex mutex_;
  std::array<std::unique_ptr<OpenKey>, kKeyringCells> keys_ GUARDED_BY(mutex_);
  std::map<Hour, HourKeyNumber> newest_ GUARDED_BY(mutex_);  // of the hours that have an open key
  // Seconds up to here are over, as the last Close has it.
  int64_t passed_s_ GUARDED_BY(mutex_);

  std::array<Frontier, kKeyringCells> frontiers_;
  std::atomic<HourKeyNumber> last_number_{0};
};

}  // namespace mayfly
