// The Keyring holds one random epoch key per deadline hour. Destroying an hour's key ends every
// payload that was due in it, whatever became of their slots.
//
// Keys are made ahead (EnsureAhead), because a payload may only be sealed under a key that is
// already on the disk, and destroyed when their hour has passed (DestroyPassed). They leave this
// class only as what Extract derives from them.
//
// The file `keyring` is replaced as a whole; the table in keyring_format.h has its bytes. Its keys
// are wrapped by the root key. Since a destroyed key must not be found even with the root key, the
// replaced file is overwritten and synced after the new one is durable. What that cannot reach: a
// crash between the two, stale flash pages, snapshots and copies made earlier.
//
// A full disk refuses a change and leaves everything as it was. A failed rename or sync leaves the
// file old or new: this object keeps what it had, but changes nothing any more (UNAVAILABLE), and
// the process must end and open the file again. Thread-safe: Extract never waits for the disk.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "base/bytes.h"
#include "base/file_system.h"
#include "base/mutex.h"
#include "base/secret_bytes.h"
#include "keys/keyring_format.h"

namespace mayfly {

inline constexpr int64_t kEpochMs = int64_t{3600} * 1000;
// Two hours more than the longest life of a payload: a key is there, synced, well before the first
// deadline that needs it.
inline constexpr int64_t kKeysAheadMs = 26 * kEpochMs;
inline constexpr int64_t kDeadlineAheadMsMax = 24 * kEpochMs;

// The hour whose key seals a payload of this deadline.
constexpr EpochHour EpochOfDeadline(int64_t deadline_ms) {
  const int64_t hour = deadline_ms / kEpochMs;
  return deadline_ms % kEpochMs < 0 ? hour - 1 : hour;
}

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
  // NOT_FOUND when there is none, FAILED_PRECONDITION when the root key is another, DATA_LOSS when
  // the file is damaged.
  static absl::StatusOr<std::unique_ptr<Keyring>> Open(FileSystem* file_system,
                                                       const std::string& directory,
                                                       const SecretBytes& root_key);

  const StoreId& store_id() const { return store_id_; }

  // Makes the keys that are missing between now and kKeysAheadMs later, which are usable once they
  // are durable. Touches the disk only when one is missing, so once an hour.
  absl::Status EnsureAhead(int64_t now_ms) EXCLUDES_LOCK(file_mutex_, mutex_);

  // The file on the disk may be the old one, the new one, or both. Nothing is changed any more: the
  // process must end and open the keyring again.
  bool has_failed() EXCLUDES_LOCK(file_mutex_);

  // Destroys the keys of hours that end at or before `erase_ms` (base/now.h).
  absl::Status DestroyPassed(int64_t erase_ms) EXCLUDES_LOCK(file_mutex_, mutex_);

  // HKDF-Extract with the hour's key as salt: 32 bytes. NOT_FOUND when the hour has no key, be it
  // destroyed or never made.
  absl::StatusOr<SecretBytes> Extract(EpochHour hour, ByteSpan slot_secret) const
      EXCLUDES_LOCK(mutex_);

  // Wraps every key with `new_root_key`, replaces the file, and reads it back before it answers.
  // At every moment, crashes included, exactly one of the two root keys opens the file. Only after
  // OK may the old one go.
  absl::Status Rewrap(const SecretBytes& new_root_key) EXCLUDES_LOCK(file_mutex_, mutex_);

  // The hours that have a key, in order.
  std::vector<EpochHour> Hours() const EXCLUDES_LOCK(mutex_);
  // The hours in which a payload stored at `now_ms` may be due and that have no key: an alarm.
  std::vector<EpochHour> MissingHours(int64_t now_ms) const EXCLUDES_LOCK(mutex_);

 private:
  struct EpochKey {
    std::string wrapped;  // as in the file
    SecretBytes hmac;     // HmacKey::ToSecret of the epoch key
  };
  using EpochKeys = std::map<EpochHour, std::shared_ptr<const EpochKey>>;

  struct Loaded {
    StoreId store_id{};
    EpochKeys keys;
  };

  Keyring(FileSystem* file_system, std::string directory, const SecretBytes& root_key,
          const StoreId& store_id);

  static EpochKey MakeKey(const SecretBytes& root_key, EpochHour hour, const SecretBytes& key);
  static absl::StatusOr<Loaded> Load(FileSystem* file_system, const std::string& path,
                                     const SecretBytes& root_key);
  // Writes the file with these keys and then uses them.
  absl::Status Change(EpochKeys keys) EXCLUDES_LOCK(mutex_) REQUIRES_LOCK(file_mutex_);
  absl::Status Replace(absl::string_view content) REQUIRES_LOCK(file_mutex_);
  absl::Status Publish(File* replaced) REQUIRES_LOCK(file_mutex_);
  absl::Status RemoveLeftover();
  EpochKeys Keys() const EXCLUDES_LOCK(mutex_);

  FileSystem* const file_system_;
  const std::string directory_;
  const std::string path_;
  const std::string new_path_;
  const StoreId store_id_;

  // Held over every change of the file; taken before mutex_.
  mutable Mutex file_mutex_;
  SecretBytes root_key_ GUARDED_BY(file_mutex_);
  bool failed_ GUARDED_BY(file_mutex_) = false;

  mutable Mutex mutex_;
  EpochKeys keys_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
