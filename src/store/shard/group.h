// A Group is what a shard decides and writes at once: requests of many calls, in the order in which
// they came.
//
//   Load      the rows of the calls, together
//   Decide    one request after another, by the rules, each upon what the one before has left
//   Commit    all rows in one batch, and the secrets that may be overwritten with it
//
// A request that changes nothing is answered at once. The others are answered by whoever syncs: see
// Unsynced, and erasure.h for those that remove a payload.
//
// For the shard's committer.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/types/span.h"

#include "base/now.h"
#include "call/apply.h"
#include "storage/storage.h"
#include "store/shard/erasure.h"
#include "store/shard/request.h"
#include "store/shard/usage.h"

namespace mayfly {

class Shard;

// What a group has written that is not on the disk for certain.
struct Unsynced {
  bool rows = false;
  bool erasures = false;
  std::vector<Answer> answers;  // to be given after the sync
  std::vector<CallKey> calls;   // whose changes are not answered before
  bool empty() const { return !rows && !erasures; }
};

// Whether a group overwrites what the group before it has removed; it then has to be synced.
enum class Erases { kNo, kYes };

class Group {
 public:
  // When the last change of a call is answered: it is answered already, with the group's sync, or with
  // the sync that follows the erasure.
  enum class Stage { kAnswered, kCommitted, kErased };

  // A call as the group has left it so far.
  struct Entry {
    LoadedCall loaded;
    CallState state;
    // Dead rows that are still there: usage counts them until they leave.
    std::optional<StoredPayload> dead_input;
    std::optional<StoredPayload> dead_output;
    Stage stage = Stage::kAnswered;
  };

  // Expects so many requests.
  Group(Shard* shard, const Now& now, size_t request_count)
      : shard_(*shard), now_(now), request_count_(request_count) {}

  const Now& now() const { return now_; }

  // Loads the calls that are not loaded yet. One that cannot be read says so in its entry.
  void Load(absl::Span<const CallKey> keys);
  // A call that was loaded; null otherwise.
  Entry* Find(const CallKey& key);
  // What the rules are given besides the call and the operation.
  ApplyContext ContextFor(const Tenant& tenant) const;

  // The call was loaded.
  void Decide(Request request);

  // Writes the group and, with Erases::kYes, the erasures of the group before. After an error, a final
  // one, TakeAnswers has the requests that are still to be answered.
  absl::StatusOr<Unsynced> Commit(Erases erases);
  std::vector<Answer> TakeAnswers();

  // Orphaned rows leave without a request. False for a row that stays, because it is not dead. An error
  // when nobody knows.
  absl::StatusOr<bool> CountOrphanOut(const DuePayload& row);

  // The output was claimed.
  void NoteClaimed(Tenant* tenant, const CallKey& key);
  // Tells what need not be durable, or is.
  void TellImmediate();

 private:
  class Comparer;

  // Of a call's rows, those that usage counts.
  static RowCount CountRows(const Entry& entry);
  // What the observers are told of a request, once it is decided.
  static GroupEvent EventOf(const Request& request, const Applied& applied);
  // For a call whose rows cannot be read.
  void RefuseUnreadable(Request request, const absl::Status& status);
  // In the shard's usage, and in what the tenant has taken. Of a put that was stored, its reservations
  // are spent.
  void CountChange(Tenant* tenant, const RowCount& change, PutContent* stored);
  void Record(const Request& request, Effects effects, Entry* entry);
  void RecordStored(const Request& request, PayloadKind kind, CallChange* change);
  Stage RecordRemoved(const Request& request, const Effects& effects);
  void ReportEnds() const;

  Shard& shard_;
  const Now now_;
  const size_t request_count_;
  absl::flat_hash_map<CallKey, std::unique_ptr<Entry>> entries_;
  std::vector<CallChange> changes_;
  std::vector<SlotRef> erased_;    // overwritten with this group
  bool erased_must_sync_ = false;  // one of them still opens something
  PendingErasure removed_;         // overwritten once the group is durable
  bool must_sync_ = false;         // rows, not erasures alone
  std::vector<DuePayload> stored_;
  // By generation: what a later put of the same group is compared with.
  absl::flat_hash_map<uint64_t, const PutContent*> contents_;
  std::vector<Answer> committed_;
  std::vector<GroupEvent> immediate_;  // claims and refusals
};

}  // namespace mayfly
