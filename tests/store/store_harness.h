// A CallStore over real local storage in its own directory, driven step by step: the clock stands
// until it is moved, sweep and maintenance run on demand, and every call blocks until it is
// answered.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "rocksdb/file_system.h"

#include "base/call_id.h"
#include "config/config.h"
#include "store/call_store.h"
#include "store/interposed_storage.h"
#include "support/fault_file_system.h"
#include "support/manual_clock.h"
#include "support/temporary_directory.h"

namespace mayfly {

// Blocks until the callback that it gave out has been called.
template <typename T>
class Awaited {
 public:
  Callback<T> callback() {
    return [this](T value) {
      MutexLock lock(&mutex_);
      value_.emplace(std::move(value));
      changed_.NotifyAll();
    };
  }
  T Get() {
    MutexLock lock(&mutex_);
    while (!value_.has_value()) changed_.Wait(&mutex_);
    return std::move(*value_);
  }
  bool is_answered() {
    MutexLock lock(&mutex_);
    return value_.has_value();
  }

 private:
  Mutex mutex_;
  ConditionVariable changed_;
  std::optional<T> value_ GUARDED_BY(mutex_);
};

ClaimToken MakeToken(uint64_t number);

class StoreHarness {
 public:
  StoreHarness();
  ~StoreHarness();

  // Used by the next Open.
  Config config;
  ManualClock clock;
  FileSystem* file_system = nullptr;
  std::shared_ptr<rocksdb::FileSystem> rocksdb_file_system;
  bool background_threads = false;
  StorageHooks hooks;
  std::vector<GroupObserver*> observers;

  // Opens the store; the error when it refuses.
  absl::Status TryOpen();
  void Open();
  // Closes it as SIGTERM would.
  void Close();
  void Reopen() {
    Close();
    Open();
  }

  CallStore* store() { return store_.get(); }
  std::string data_dir() const { return directory_.path() + "/data"; }
  const std::string& directory() const { return directory_.path(); }
  static std::string RootKey() { return std::string(32, 'r'); }
  bool has_failed() const { return has_failed_; }
  // The lines that the store has logged since it was opened.
  std::vector<std::string> log() {
    MutexLock lock(&log_mutex_);
    return log_;
  }
  Tenant* tenant(const std::string& name = "acme");

  // Returns when the shards have done what they were given, and what has come of it three times
  // over: a look, an offer, and the look that comes of it.
  void Settle();

  // A new id, minted now, or when somebody else's clock says.
  CallId NewId();
  CallId NewId(absl::Time minted);

  PutResult PutInput(const CallId& id, absl::string_view data, absl::Duration ttl = absl::Hours(1),
                     Tenant* owner = nullptr);
  PutResult PutOutput(const CallId& id, absl::string_view data, uint32_t attempt = 1,
                      absl::Duration ttl = absl::Hours(1), Tenant* owner = nullptr);
  InputResult GetInput(const CallId& id, Tenant* owner = nullptr);
  ClaimResponse Claim(const CallId& id, uint64_t token, Tenant* owner = nullptr);
  ClaimResponse Claim(ClaimRequest request, Tenant* owner = nullptr);
  EndResult Ack(const CallId& id, uint64_t token, uint64_t fence, Tenant* owner = nullptr);
  absl::Status Release(const CallId& id, uint64_t token, uint64_t fence, Tenant* owner = nullptr);
  RenewResult Renew(const CallId& id, uint64_t token, uint64_t fence, absl::Duration lease,
                    Tenant* owner = nullptr);
  CallPhase Phase(const CallId& id, Tenant* owner = nullptr);
  EndResult Delete(const CallId& id, Tenant* owner = nullptr);

  absl::StatusOr<BegunUpload> BeginUpload(NewUpload upload, Tenant* owner = nullptr);
  static absl::Status Append(const BegunUpload& begun, uint64_t offset, const std::string& data);
  // All of `data` from an offset on, in segments.
  static absl::Status Send(const BegunUpload& begun, const std::string& data, uint64_t from = 0);
  static absl::StatusOr<int64_t> Finish(const BegunUpload& begun, const std::string& data);
  // The deadline, 0 when the call was consumed.
  absl::StatusOr<int64_t> Upload(NewUpload upload, const std::string& data);

  static ClaimRequest MakeClaim(std::vector<CallId> ids, uint64_t token);

 private:
  Tenant* OrDefault(Tenant* owner) { return owner != nullptr ? owner : tenant(); }

  TemporaryDirectory directory_;
  std::unique_ptr<CallStore> store_;
  Tenant* acme_ = nullptr;
  std::atomic<bool> has_failed_{false};
  std::atomic<uint64_t> ids_{0};
  Mutex log_mutex_;
  std::vector<std::string> log_ GUARDED_BY(log_mutex_);
};

NewPayload MakePayload(absl::string_view data);

}  // namespace mayfly
