#include "cli/map_retrieval.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/clock.h"
#include "base/error.h"
#include "cli/call_list.h"
#include "cli/file_transfer.h"
#include "cli/output_file.h"
#include "cli/reach.h"

namespace mayfly::cli {
namespace {

// A file system combines concurrent syncs of several threads.
constexpr int kWriters = 4;
constexpr size_t kGroupMax = 32;
// Maximum number of outputs that wait to be written; their claims are renewed meanwhile.
constexpr uint32_t kWindowItems = 256;
// The default limit of subscriptions per stream in the server.
constexpr size_t kSubscribedMax = 65536;
// Even outputs that are ready take a moment to arrive.
constexpr absl::Duration kWaitMin = absl::Seconds(1);
// In each round later attempts replaced some outputs.
constexpr int kRoundsMax = 10;
// The progress of other threads is drawn at least this often.
constexpr absl::Duration kProgressInterval = absl::Milliseconds(200);

absl::Time Now() { return absl::UnixEpoch() + SystemClock().Read().boottime; }

// Otherwise the stream is rejected or the server is faulty, and the error does not concern a single
// call.
bool IsAboutTheCall(const absl::Status& status) {
  return absl::IsNotFound(status) || absl::IsDataLoss(status);
}

}  // namespace

// The results of acks. They arrive on the client's thread, which must not block, and possibly after
// the retrieval has ended.
class MapRetrieval::Acks {
 public:
  struct Refusal {
    std::string call_id;
    absl::Status status;
    std::shared_ptr<KeptDownload> download;
  };

  void OnAnswer(const std::string& call_id, const absl::Status& status,
                std::shared_ptr<KeptDownload> download) EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    if (!status.ok()) {
      refusals_.push_back({call_id, status, std::move(download)});
    } else if (download != nullptr) {
      finished_.push_back(std::move(download));
    }
  }
  std::vector<Refusal> TakeRefusals() EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    return std::exchange(refusals_, {});
  }
  // Of the outputs that are acknowledged, there is nothing to resume.
  void RemoveFinished() EXCLUDES_LOCK(mutex_) {
    std::vector<std::shared_ptr<KeptDownload>> finished;
    {
      MutexLock lock(&mutex_);
      finished.swap(finished_);
    }
    for (const auto& download : finished) download->Remove();
  }

 private:
  Mutex mutex_;
  std::vector<Refusal> refusals_ GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<KeptDownload>> finished_ GUARDED_BY(mutex_);
};

// Writes one file and counts the progress of all.
class MapRetrieval::CountingSink : public client::PayloadSink {
 public:
  CountingSink(MapRetrieval* map, client::PayloadSink* file) : map_(map), file_(file) {}

  absl::StatusOr<uint64_t> KeptBytes(const client::PayloadVersion& version) override {
    return file_->KeptBytes(version);
  }
  absl::StatusOr<size_t> ReadKept(uint64_t offset, char* buffer, size_t size) override {
    map_->NoteActivity();
    return file_->ReadKept(offset, buffer, size);
  }
  absl::Status WriteAt(uint64_t offset, absl::string_view data) override {
    const absl::Status status = file_->WriteAt(offset, data);
    map_->bytes_ += data.size();
    map_->NoteActivity();
    map_->ShowProgress();
    return status;
  }
  absl::Status Finish(uint64_t size) override { return file_->Finish(size); }

 private:
  MapRetrieval* const map_;
  client::PayloadSink* const file_;
};

MapRetrieval::MapRetrieval(client::Client client, const CommandLine& line, const Context& context)
    : client_(std::move(client)),
      line_(line),
      context_(context),
      wait_(std::max(line.wait, kWaitMin)),
      acks_(std::make_shared<Acks>()) {}

MapRetrieval::~MapRetrieval() = default;

ExitCode MapRetrieval::Run() {
  const auto call_ids =
      ReadCallList(line_.list_file, context_.standard_input, context_.interruption);
  if (!call_ids.ok()) return context_.report->Refuse(call_ids.status());
  absl::Status status = PrepareDirectory();
  if (status.ok()) status = FindMissing(*call_ids);
  if (status.ok()) status = CheckMissingFile();
  if (!status.ok()) return context_.report->Refuse(status);
  if (!missing_.empty()) {
    status = ReachServer(client_, missing_[0], line_, context_);
    if (!status.ok()) return context_.report->Error("", status);
    RetrieveMissing();
  }
  ReportRest();
  MutexLock lock(&console_mutex_);
  return exit_code_ == kExitDone ? outcome_ : exit_code_;
}

void MapRetrieval::RetrieveMissing() {
  stream_ = std::make_unique<client::OutputStream>(client_.StreamOutputs(
      {.window_items = kWindowItems, .data_bytes_max = client::kMessageDataBytesMax}));
  {
    MutexLock lock(&mutex_);
    pending_.insert(missing_.begin(), missing_.end());
  }
  context_.interruption->SetAction([this] { Stop(); });
  ShowProgress();
  std::vector<std::string> call_ids = ResumeBrokenOff();
  for (int round = 0; round < kRoundsMax && !call_ids.empty() && !stopping_; ++round) {
    Subscribe(std::move(call_ids));
    RunWriters();
    call_ids = FinishAcks();
  }
  context_.interruption->SetAction(nullptr);
}

void MapRetrieval::RunWriters() {
  NoteActivity();
  std::vector<std::thread> writers;
  for (int i = 0; i < kWriters; ++i) writers.emplace_back([this] { Write(); });
  for (std::thread& writer : writers) writer.join();
}

void MapRetrieval::Write() {
  while (true) {
    absl::StatusOr<client::OutputEvent> event = NextEvent();
    if (!event.ok()) return;
    std::vector<Written> group;
    for (size_t taken = 1; event.ok(); ++taken) {
      Take(*std::move(event), &group);
      if (taken == kGroupMax) break;
      event = stream_->Next(absl::ZeroDuration());
    }
    Acknowledge(std::move(group));
  }
}

absl::StatusOr<client::OutputEvent> MapRetrieval::NextEvent() {
  while (true) {
    absl::StatusOr<client::OutputEvent> event =
        stream_->Next(std::min(WaitLeft(), kProgressInterval));
    const bool must_wait_on =
        absl::IsDeadlineExceeded(event.status()) && WaitLeft() > absl::ZeroDuration();
    if (!must_wait_on) return event;
    ShowProgress();
  }
}

void MapRetrieval::Take(client::OutputEvent event, std::vector<Written>* group) {
  SubscribeNext(event.call_id);
  if (!event.output.ok()) {
    if (!IsAboutTheCall(event.output.status())) return StopForAll(event.output.status());
    return ReportError(event.call_id, event.output.status());
  }
  const client::Claim claim = event.output->claim;
  if (stopping_) return stream_->Release(claim);
  Written written{.output = *std::move(event.output), .download = nullptr};
  const absl::Status status = WriteFile(&written);
  if (!status.ok()) {
    stream_->Release(claim);
    if (!absl::IsCancelled(status)) ReportError(event.call_id, status);
    return;
  }
  ++written_count_;
  ShowProgress();
  group->push_back(std::move(written));
}

absl::Status MapRetrieval::WriteFile(Written* written) {
  const std::string call_id = written->output.claim.call_id;
  // The files of a large output that this one has replaced must not outlast the ack.
  const bool is_kept = KeptDownload::IsKept(PathOf(call_id), call_id);
  if (!written->output.data_omitted && !is_kept) return WriteData(&written->output);
  auto opened =
      KeptDownload::Open(context_.file_system, PathOf(call_id), call_id, DirectorySync::kByCaller);
  // Writing the next file would fail too; not if another process has this one.
  if (!opened.ok() && !absl::IsAborted(opened.status())) Stop();
  RETURN_IF_ERROR(opened.status());
  written->download = *std::move(opened);
  const absl::Status status = Download(written);
  if (status.ok()) return status;
  if (written->download->failed()) Stop();
  return EndDownload(status, written->download.get());
}

absl::Status MapRetrieval::WriteData(client::ClaimedOutput* output) {
  OutputFile file(context_.file_system, PathOf(output->claim.call_id), DirectorySync::kByCaller);
  CountingSink sink(this, &file);
  const std::string data = std::exchange(output->payload.data, std::string());
  absl::Status status = data.empty() ? absl::OkStatus() : sink.WriteAt(0, data);
  if (status.ok()) status = sink.Finish(data.size());
  // Writing the next file would fail too.
  if (!status.ok()) Stop();
  return status;
}

absl::Status MapRetrieval::Download(Written* written) {
  RETURN_IF_ERROR(written->download->PrepareClaim(written->output.claim.token));
  CountingSink sink(this, written->download.get());
  absl::StatusOr<client::ClaimedOutput> whole = client_.DownloadOutput(
      written->output, &sink, {.cancellation = context_.interruption->cancellation()});
  RETURN_IF_ERROR(whole.status());
  written->output = *std::move(whole);
  RETURN_IF_ERROR(written->download->RecordComplete(written->output));
  return written->download->Place();
}

absl::Status MapRetrieval::SyncDirectory() const {
  const absl::Status status = context_.file_system->SyncDirectory(line_.directory);
  if (status.ok()) return status;
  return absl::FailedPreconditionError(
      absl::StrCat("the output files cannot be synced: ", status.message()));
}

void MapRetrieval::Acknowledge(std::vector<Written> group) {
  NoteActivity();
  acks_->RemoveFinished();
  if (group.empty()) return;
  absl::Status status = SyncDirectory();
  for (Written& written : group) {
    const std::string& call_id = written.output.claim.call_id;
    if (status.ok()) status = ReportOutput(written.output);
    if (status.ok()) {
      stream_->Ack(written.output.claim,
                   [acks = acks_, call_id, download = std::move(written.download)](
                       const absl::StatusOr<absl::Time>& erased) mutable {
                     acks->OnAnswer(call_id, erased.status(), std::move(download));
                   });
      continue;
    }
    // Remove the file, so that the next run retrieves the call again.
    context_.file_system->Remove(PathOf(call_id)).IgnoreError();
    if (written.download != nullptr) written.download->Remove();
    --written_count_;
    stream_->Release(written.output.claim);
  }
  if (!status.ok()) StopForAll(status);
}

std::vector<std::string> MapRetrieval::FinishAcks() {
  const absl::Status flushed = stream_->Flush(line_.timeout);
  if (!flushed.ok()) ReportError("", flushed);
  acks_->RemoveFinished();
  std::vector<std::string> again;
  for (const Acks::Refusal& refusal : acks_->TakeRefusals()) {
    if (ReasonOf(refusal.status) != Reason::kClaimLost || stopping_) {
      ReportError(refusal.call_id, refusal.download == nullptr
                                       ? refusal.status
                                       : EndDownload(refusal.status, refusal.download.get()));
      continue;
    }
    // Its record last: a file without one counts as saved.
    context_.file_system->Remove(PathOf(refusal.call_id)).IgnoreError();
    if (refusal.download != nullptr) refusal.download->Remove();
    --written_count_;
    again.push_back(refusal.call_id);
  }
  MutexLock lock(&mutex_);
  pending_.insert(again.begin(), again.end());
  return again;
}

void MapRetrieval::Subscribe(std::vector<std::string> call_ids) {
  {
    MutexLock lock(&mutex_);
    const size_t first = std::min(call_ids.size(), kSubscribedMax);
    to_subscribe_.insert(to_subscribe_.end(), call_ids.begin() + static_cast<ptrdiff_t>(first),
                         call_ids.end());
    call_ids.resize(first);
  }
  SubscribeUnlessStopped(std::move(call_ids));
}

void MapRetrieval::SubscribeUnlessStopped(std::vector<std::string> call_ids) {
  stream_->Subscribe(call_ids);
  // A thread that stopped it in the meantime may have been too early to unsubscribe these.
  if (stopping_) stream_->Unsubscribe(call_ids);
}

void MapRetrieval::SubscribeNext(const std::string& told) {
  std::string next;
  {
    MutexLock lock(&mutex_);
    pending_.erase(told);
    active_ = Now();
    if (to_subscribe_.empty() || stopping_) return;
    next = std::move(to_subscribe_.front());
    to_subscribe_.pop_front();
  }
  SubscribeUnlessStopped({std::move(next)});
}

void MapRetrieval::Stop() {
  if (stopping_.exchange(true)) return;
  // This tells waiting writers that no further output will arrive.
  stream_->Unsubscribe(missing_);
}

void MapRetrieval::StopForAll(const absl::Status& status) {
  if (stopping_.exchange(true)) return;
  stream_->Unsubscribe(missing_);
  ReportError("", status);
}

void MapRetrieval::NoteActivity() {
  MutexLock lock(&mutex_);
  active_ = Now();
}

absl::Duration MapRetrieval::WaitLeft() {
  MutexLock lock(&mutex_);
  return std::max(absl::ZeroDuration(), active_ + wait_ - Now());
}

std::string MapRetrieval::PathOf(const std::string& call_id) const {
  return absl::StrCat(line_.directory, "/", call_id);
}

}  // namespace mayfly::cli
