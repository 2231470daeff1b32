#include "mayfly_fill.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <memory>
#include <thread>
#include <unistd.h>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include <arpa/inet.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "mayfly_channels.h"

namespace mayfly::peers {
namespace {

constexpr uint64_t kSampleCalls = 1000;
constexpr size_t kProbeBatchCalls = 250;
constexpr uint64_t kMaxBytes = 64 << 20;
constexpr auto kRetryPause = std::chrono::milliseconds(2);

// Numbers the batches of all lanes, and waits for the last.
class FillProgress {
 public:
  explicit FillProgress(const Fill& fill) : fill_(fill), sample_(fill) {}

  // How many calls the next batch has, and the number of its first; 0 when all are taken.
  uint32_t TakeBatch(uint32_t calls_max, uint64_t* first_call) {
    absl::MutexLock lock(&mutex_);
    const auto count =
        static_cast<uint32_t>(std::min<uint64_t>(calls_max, fill_.calls - taken_calls_));
    *first_call = taken_calls_;
    taken_calls_ += count;
    return count;
  }

  void EndBatch(uint64_t first_call, const std::vector<std::string>& ids) {
    absl::MutexLock lock(&mutex_);
    sample_.Take(first_call, ids);
    put_calls_ += ids.size();
  }

  void Wait() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](FillProgress* self) { return self->put_calls_ == self->fill_.calls; }, this));
    sample_.WriteOrDie();
  }

  int64_t end_unix_ms() const { return fill_.end_unix_ms; }

 private:
  const Fill fill_;
  absl::Mutex mutex_;
  uint64_t taken_calls_ = 0;
  uint64_t put_calls_ = 0;
  FillSample sample_;
};

// Puts one batch after another, each on the thread that brought the answer to the one before.
class FillLane {
 public:
  FillLane(const Workload& workload, const PayloadPool* pool, Stub* client, FillProgress* progress)
      : workload_(workload), pool_(pool), client_(client), progress_(progress) {}

  void Begin() {
    const uint32_t count = progress_->TakeBatch(workload_.batch_calls, &first_call_);
    if (count == 0) return;
    MintIds(count, &ids_);
    while (request_.items_size() < static_cast<int>(count)) request_.add_items();
    while (request_.items_size() > static_cast<int>(count)) request_.mutable_items()->RemoveLast();
    const int64_t ttl_ms = progress_->end_unix_ms() - absl::ToUnixMillis(absl::Now());
    for (uint32_t i = 0; i < count; ++i) FillItem(i, ttl_ms);
    context_ = std::make_unique<grpc::ClientContext>();
    client_->async()->PutInputs(context_.get(), &request_, &response_,
                                [this](const grpc::Status& status) { End(status); });
  }

 private:
  void FillItem(uint32_t place, int64_t ttl_ms) {
    v1::InputItem* const item = request_.mutable_items(static_cast<int>(place));
    item->set_call_id(ids_[place]);
    const absl::string_view data = pool_->Input(first_call_ + place);
    item->mutable_payload()->set_data(data.data(), data.size());
    item->mutable_payload()->set_crc32c(Crc32c(AsBytes(data)));
    if (progress_->end_unix_ms() == 0) return;
    item->mutable_ttl()->set_seconds(ttl_ms / 1000);
    item->mutable_ttl()->set_nanos(static_cast<int32_t>(ttl_ms % 1000 * 1'000'000));
  }

  void End(const grpc::Status& status) {
    if (!status.ok()) {
      Die(absl::StrCat("PutInputs: ", status.error_message(), " (code ",
                       static_cast<int>(status.error_code()), ")"));
    }
    for (const v1::PutInputResult& result : response_.results()) {
      if (result.status().code() == 0) continue;
      Die(absl::StrCat("PutInputs: ", result.status().message(), " (code ", result.status().code(),
                       ")"));
    }
    if (static_cast<size_t>(response_.results_size()) != ids_.size()) {
      Die("PutInputs: not one result for each call");
    }
    // The process may end as soon as the last batch of all lanes is noted.
    const uint64_t first_call = first_call_;
    const std::vector<std::string> ids = ids_;
    Begin();
    progress_->EndBatch(first_call, ids);
  }

  const Workload& workload_;
  const PayloadPool* const pool_;
  Stub* const client_;
  FillProgress* const progress_;

  uint64_t first_call_ = 0;
  std::vector<std::string> ids_;
  v1::PutInputsRequest request_;
  v1::PutInputsResponse response_;
  std::unique_ptr<grpc::ClientContext> context_;
};

// gRPC waits a second before it tries a refused connection again, which would be in the figure.
void WaitUntilAccepted(const std::string& address, int64_t give_up_ns) {
  int port = 0;
  if (!absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port)) {
    Die(absl::StrCat(address, " does not end in a port"));
  }
  sockaddr_in loopback{};
  loopback.sin_family = AF_INET;
  loopback.sin_port = htons(static_cast<uint16_t>(port));
  loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  while (true) {
    const int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool accepted =
        connect(descriptor, reinterpret_cast<sockaddr*>(&loopback), sizeof loopback) == 0;
    close(descriptor);
    if (accepted) return;
    if (NowNs() > give_up_ns) Die(absl::StrCat(address, " does not accept connections"));
    std::this_thread::sleep_for(kRetryPause);
  }
}

v1::DescribeCallsResponse Describe(Stub* client, absl::Span<const std::string> ids,
                                   int64_t give_up_ns) {
  v1::DescribeCallsRequest request;
  request.mutable_call_ids()->Assign(ids.begin(), ids.end());
  while (true) {
    grpc::ClientContext context;
    v1::DescribeCallsResponse response;
    const grpc::Status status = client->DescribeCalls(&context, request, &response);
    if (status.ok()) return response;
    if (status.error_code() != grpc::StatusCode::UNAVAILABLE || NowNs() > give_up_ns) {
      Die(absl::StrCat("DescribeCalls: ", status.error_message()));
    }
    std::this_thread::sleep_for(kRetryPause);
  }
}

uint64_t CountReadable(Stub* worker, absl::Span<const std::string> ids) {
  v1::GetInputsRequest request;
  request.mutable_call_ids()->Assign(ids.begin(), ids.end());
  request.set_max_bytes(kMaxBytes);
  grpc::ClientContext context;
  v1::GetInputsResponse response;
  const grpc::Status status = worker->GetInputs(&context, request, &response);
  if (!status.ok()) Die(absl::StrCat("GetInputs: ", status.error_message()));
  return std::count_if(response.results().begin(), response.results().end(),
                       [](const v1::GetInputResult& result) { return result.has_payload(); });
}

}  // namespace

FillSample::FillSample(const Fill& fill)
    : path_(fill.sample_path), stride_(std::max<uint64_t>(1, fill.calls / kSampleCalls)) {}

void FillSample::Take(uint64_t first_call, const std::vector<std::string>& ids) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if ((first_call + i) % stride_ == 0) absl::StrAppend(&lines_, ids[i], "\n");
  }
}

void FillSample::WriteOrDie() const {
  if (path_.empty()) return;
  std::ofstream file(path_);
  file << lines_;
  file.close();
  if (file.fail()) Die(absl::StrCat("cannot write ", path_));
}

nlohmann::json RunMayflyFill(const MayflyTarget& target, const Workload& workload,
                             const Fill& fill) {
  const PayloadPool pool(workload.payload_bytes);
  const std::vector<Stubs> stubs =
      Connect(target.address, target.certificate_directory, workload.connections);
  FillProgress progress(fill);
  std::vector<std::unique_ptr<FillLane>> lanes;
  for (uint32_t i = 0; i < workload.lanes; ++i) {
    lanes.push_back(std::make_unique<FillLane>(workload, &pool,
                                               stubs[i % stubs.size()].client.get(), &progress));
  }
  const int64_t begun_ns = NowNs();
  for (const auto& lane : lanes) lane->Begin();
  progress.Wait();
  const double seconds = static_cast<double>(NowNs() - begun_ns) / 1e9;
  return {{"calls", fill.calls},
          {"seconds", seconds},
          {"puts_per_s", static_cast<double>(fill.calls) / seconds}};
}

nlohmann::json RunMayflyProbe(const MayflyTarget& target, const std::string& sample_path,
                              double patience_s) {
  const std::vector<std::string> ids =
      absl::StrSplit(ReadFileOrDie(sample_path), '\n', absl::SkipEmpty());
  if (ids.empty()) Die(absl::StrCat(sample_path, " has no ids"));
  const int64_t give_up_ns = NowNs() + static_cast<int64_t>(patience_s * 1e9);
  WaitUntilAccepted(target.address, give_up_ns);
  const std::vector<Stubs> stubs = Connect(target.address, target.certificate_directory, 1);
  Describe(stubs[0].client.get(), absl::MakeSpan(ids).first(1), give_up_ns);
  const double first_answer_s = static_cast<double>(NowNs()) / 1e9;
  nlohmann::json states = nlohmann::json::object();
  uint64_t readable = 0;
  for (size_t i = 0; i < ids.size(); i += kProbeBatchCalls) {
    const auto batch = absl::MakeConstSpan(ids).subspan(i, kProbeBatchCalls);
    const v1::DescribeCallsResponse response = Describe(stubs[0].client.get(), batch, give_up_ns);
    for (const v1::CallDescription& call : response.results()) {
      const std::string& state = v1::CallState_Name(call.state());
      states[state] = states.value(state, 0) + 1;
    }
    readable += CountReadable(stubs[0].worker.get(), batch);
  }
  return {{"calls", ids.size()},
          {"first_answer_s", first_answer_s},
          {"states", states},
          {"readable", readable}};
}

}  // namespace mayfly::peers
