// A MapRetrieval brings the outputs of many calls into a directory as they arrive, one file each,
// named by its call's id.
//
// Outputs come on one stream. Several threads write them, since most of the time goes into syncing:
// each takes what has come, up to a group, writes and syncs the files, syncs the directory once, and
// only then acknowledges. So memory is bounded by the stream's window, whatever the payloads' sizes,
// and a file of that name is whole and durable: the next run need not ask for it again.
//
// What concerns one call is reported, and the others go on. A file that cannot be written, a stream
// that is refused, and the user's wish to stop end all: what was not acknowledged is released.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "base/mutex.h"
#include "cli/command_line.h"
#include "cli/context.h"
#include "mayfly/client.h"

namespace mayfly::cli {

class MapRetrieval {
 public:
  // `line` outlives this.
  MapRetrieval(client::Client client, const CommandLine& line, const Context& context);
  ~MapRetrieval();

  ExitCode Run();

 private:
  class Acks;
  class CountingSink;

  absl::Status PrepareDirectory() const;
  // Fills missing_ with those calls whose file is not there.
  absl::Status FindMissing(const std::vector<std::string>& call_ids);
  // Tells a server that cannot be reached from outputs that do not come.
  absl::Status ReachServer() const;
  void RetrieveMissing() EXCLUDES_LOCK(mutex_);

  // Until every call has been told of, or none is for too long.
  void RunWriters() EXCLUDES_LOCK(mutex_);
  void Write() EXCLUDES_LOCK(mutex_);
  absl::StatusOr<client::OutputEvent> NextEvent() EXCLUDES_LOCK(mutex_);
  // Writes the output, and adds it to the group of those to be acknowledged.
  void Take(client::OutputEvent event, std::vector<client::ClaimedOutput>* group)
      EXCLUDES_LOCK(mutex_);
  // The output's data goes; its claim is then the one to acknowledge.
  absl::Status WriteFile(client::ClaimedOutput* output);
  absl::Status SyncDirectory() const;
  void Acknowledge(std::vector<client::ClaimedOutput> group) EXCLUDES_LOCK(mutex_);
  // Returns those to be retrieved again, since a later attempt has replaced what was written.
  std::vector<std::string> FinishAcks() EXCLUDES_LOCK(mutex_);

  void Subscribe(std::vector<std::string> call_ids) EXCLUDES_LOCK(mutex_);
  void SubscribeUnlessStopped(std::vector<std::string> call_ids);
  void SubscribeNext() EXCLUDES_LOCK(mutex_);
  // No more outputs are taken.
  void Stop() EXCLUDES_LOCK(mutex_);
  void StopForAll(const absl::Status& status) EXCLUDES_LOCK(mutex_);
  void NoteActivity() EXCLUDES_LOCK(mutex_);
  absl::Duration WaitLeft() EXCLUDES_LOCK(mutex_);

  void ReportError(const std::string& call_id, const absl::Status& status)
      EXCLUDES_LOCK(console_mutex_);
  absl::Status ReportOutput(const client::ClaimedOutput& output) EXCLUDES_LOCK(console_mutex_);
  void ReportRest() EXCLUDES_LOCK(mutex_, console_mutex_);
  void ShowProgress() EXCLUDES_LOCK(console_mutex_);
  std::string PathOf(const std::string& call_id) const;

  const client::Client client_;
  const CommandLine& line_;
  const Context context_;
  std::vector<std::string> missing_;
  size_t kept_count_ = 0;
  std::unique_ptr<client::OutputStream> stream_;
  std::shared_ptr<Acks> acks_;
  std::atomic<bool> stopping_ = false;
  std::atomic<uint64_t> bytes_ = 0;
  std::atomic<size_t> written_count_ = 0;

  Mutex mutex_;
  std::deque<std::string> to_subscribe_ GUARDED_BY(mutex_);
  size_t untold_count_ GUARDED_BY(mutex_) = 0;  // of missing_
  absl::Time active_ GUARDED_BY(mutex_);

  Mutex console_mutex_;  // what the terminal holds up holds up nothing else
  ExitCode exit_code_ GUARDED_BY(console_mutex_) = kExitDone;
};

}  // namespace mayfly::cli
