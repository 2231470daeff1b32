// A MapRetrieval saves the outputs of many calls to a directory as they arrive, in one file each,
// named after the call's id.
//
// Outputs arrive on one stream. Several threads write them, because most of the time is spent on
// syncing. Each takes the available outputs, up to a group, writes and syncs the files, syncs the
// directory once, and then acknowledges them. So memory is bounded by the stream's window, whatever
// the payloads' sizes. A file with the name of a call is complete and durable, so the next run
// skips that call. What a run that was broken off has of a large output, the next one keeps: see
// kept_download.h.
//
// An error of one call is reported, and the others continue. A file that cannot be written, a
// stream that is rejected, or an interruption ends the run; unacknowledged outputs are released.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "base/mutex.h"
#include "cli/command_line.h"
#include "cli/context.h"
#include "cli/kept_download.h"
#include "mayfly/client.h"

namespace mayfly::cli {

class MapRetrieval {
 public:
  // `line` must outlive this object.
  MapRetrieval(client::Client client, const CommandLine& line, const Context& context);
  ~MapRetrieval();

  ExitCode Run();

 private:
  class Acks;
  class CountingSink;

  // An output whose file is written.
  struct Written {
    client::ClaimedOutput output;
    std::shared_ptr<KeptDownload> download;  // null if it came in a message
  };

  absl::Status PrepareDirectory() const;
  absl::Status CheckMissingFile() const;
  // Fills missing_ with the calls whose file does not exist, and broken_off_ with those of them, and
  // of the files that exist, whose download an earlier run has not finished.
  absl::Status FindMissing(const std::vector<std::string>& call_ids);
  void RetrieveMissing() EXCLUDES_LOCK(mutex_);
  // Finishes broken_off_, as far as the outputs can be claimed. Returns the calls of missing_ that are
  // left.
  std::vector<std::string> ResumeBrokenOff() EXCLUDES_LOCK(mutex_);
  // False when the call is left to the stream.
  bool Resume(const std::string& call_id) EXCLUDES_LOCK(mutex_);

  // Runs until every call was reported, or none was for too long.
  void RunWriters() EXCLUDES_LOCK(mutex_);
  void Write() EXCLUDES_LOCK(mutex_);
  absl::StatusOr<client::OutputEvent> NextEvent() EXCLUDES_LOCK(mutex_);
  // Writes the output and adds it to the group to be acknowledged.
  void Take(client::OutputEvent event, std::vector<Written>* group) EXCLUDES_LOCK(mutex_);
  // Frees the output's data. Afterwards its claim is the one to acknowledge.
  absl::Status WriteFile(Written* written);
  absl::Status WriteData(client::ClaimedOutput* output);
  absl::Status Download(Written* written);
  absl::Status SyncDirectory() const;
  void Acknowledge(std::vector<Written> group) EXCLUDES_LOCK(mutex_);
  // Returns the calls to retrieve again, because a later attempt has replaced the written output.
  std::vector<std::string> FinishAcks() EXCLUDES_LOCK(mutex_);

  void Subscribe(std::vector<std::string> call_ids) EXCLUDES_LOCK(mutex_);
  void SubscribeUnlessStopped(std::vector<std::string> call_ids);
  // In place of a call of which the stream has told.
  void SubscribeNext(const std::string& told) EXCLUDES_LOCK(mutex_);
  // Stops taking outputs.
  void Stop() EXCLUDES_LOCK(mutex_);
  void StopForAll(const absl::Status& status) EXCLUDES_LOCK(mutex_);
  void NoteActivity() EXCLUDES_LOCK(mutex_);
  absl::Duration WaitLeft() EXCLUDES_LOCK(mutex_);

  void ReportError(const std::string& call_id, const absl::Status& status)
      EXCLUDES_LOCK(console_mutex_);
  // Once, also if the claim lapses before the ack and the same output is claimed again.
  absl::Status ReportOutput(const client::ClaimedOutput& output) EXCLUDES_LOCK(console_mutex_);
  void ReportRest() EXCLUDES_LOCK(mutex_, console_mutex_);
  // In the order of the list.
  std::vector<std::string> PendingCalls() EXCLUDES_LOCK(mutex_);
  void WriteMissing(const std::vector<std::string>& pending) EXCLUDES_LOCK(console_mutex_);
  void ShowProgress() EXCLUDES_LOCK(console_mutex_);
  std::string PathOf(const std::string& call_id) const;

  const client::Client client_;
  const CommandLine& line_;
  const Context context_;
  const absl::Duration wait_;  // for the next output
  std::vector<std::string> missing_;
  std::vector<std::string> broken_off_;
  size_t kept_count_ = 0;
  std::unique_ptr<client::OutputStream> stream_;
  std::shared_ptr<Acks> acks_;
  std::atomic<bool> stopping_ = false;
  std::atomic<uint64_t> bytes_ = 0;
  std::atomic<size_t> written_count_ = 0;
  std::atomic<size_t> ended_count_ = 0;  // calls that were reported with an error

  Mutex mutex_;
  std::deque<std::string> to_subscribe_ GUARDED_BY(mutex_);
  absl::flat_hash_set<std::string> pending_ GUARDED_BY(mutex_);  // of missing_, not told of yet
  absl::Time active_ GUARDED_BY(mutex_);

  Mutex console_mutex_;  // a blocked terminal must not block anything else
  ExitCode exit_code_ GUARDED_BY(console_mutex_) = kExitDone;
  ExitCode outcome_ GUARDED_BY(console_mutex_) = kExitDone;  // of all that was retrieved
  // By call, the attempt whose output was reported.
  absl::flat_hash_map<std::string, uint32_t> reported_ GUARDED_BY(console_mutex_);
};

}  // namespace mayfly::cli
