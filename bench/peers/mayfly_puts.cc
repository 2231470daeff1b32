#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "mayfly_channels.h"
#include "mayfly_session.h"
#include "mayfly_streams.h"

namespace mayfly::peers {
namespace {

// The state shared by all putters: the payloads, the answers, and whether to continue.
class PutProgress {
 public:
  explicit PutProgress(const Puts& puts) : puts_(puts), pool_(puts.payload_bytes) {}

  // One batch; reuses the memory of what is there.
  void FillItems(google::protobuf::RepeatedPtrField<v1::InputItem>* items) {
    std::vector<std::string> ids;
    MintIds(puts_.batch_items, &ids);
    while (items->size() < static_cast<int>(ids.size())) items->Add();
    for (size_t i = 0; i < ids.size(); ++i) {
      const absl::string_view data = pool_.Input(next_.fetch_add(1, std::memory_order_relaxed));
      v1::InputItem& item = *items->Mutable(static_cast<int>(i));
      item.set_call_id(ids[i]);
      item.mutable_payload()->set_data(data.data(), data.size());
      item.mutable_payload()->set_crc32c(Crc32c(AsBytes(data)));
    }
  }

  void TakeResults(const google::protobuf::RepeatedPtrField<v1::PutInputResult>& results) {
    for (const v1::PutInputResult& result : results) {
      if (result.status().code() != 0) Die(absl::StrCat("put: ", result.status().message()));
    }
    answered_.fetch_add(static_cast<uint64_t>(results.size()), std::memory_order_relaxed);
  }

  bool goes_on() const { return goes_on_.load(std::memory_order_relaxed); }
  uint64_t answered() const { return answered_.load(std::memory_order_relaxed); }
  void Stop() { goes_on_ = false; }

  void Begun() {
    absl::MutexLock lock(&mutex_);
    ++open_;
  }
  void Ended() {
    absl::MutexLock lock(&mutex_);
    --open_;
  }
  void WaitForEnd() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](PutProgress* self) { return self->open_ == 0; }, this));
  }

 private:
  const Puts puts_;
  const PayloadPool pool_;
  std::atomic<uint64_t> next_{0};
  std::atomic<uint64_t> answered_{0};
  std::atomic<bool> goes_on_{true};
  absl::Mutex mutex_;
  int open_ = 0;
};

// One batch after the other, each an RPC of its own or a request on a session.
class BatchLane {
 public:
  BatchLane(Stub* client, MayflySession* session, PutProgress* progress)
      : client_(client), session_(session), progress_(progress) {}

  void Begin() {
    progress_->FillItems(request_.mutable_items());
    if (session_ != nullptr) {
      return session_->Send(request_, [this](const v1::NumberedResponse& response) {
        End({static_cast<grpc::StatusCode>(response.status().code()), response.status().message()},
            response.put_inputs());
      });
    }
    context_ = std::make_unique<grpc::ClientContext>();
    client_->async()->PutInputs(context_.get(), &request_, &response_,
                                [this](const grpc::Status& status) { End(status, response_); });
  }

 private:
  void End(const grpc::Status& status, const v1::PutInputsResponse& response) {
    if (!status.ok()) Die(absl::StrCat("PutInputs: ", status.error_message()));
    progress_->TakeResults(response.results());
    if (!progress_->goes_on()) return progress_->Ended();
    Begin();
  }

  Stub* const client_;
  MayflySession* const session_;
  PutProgress* const progress_;
  v1::PutInputsRequest request_;
  v1::PutInputsResponse response_;
  std::unique_ptr<grpc::ClientContext> context_;
};

}  // namespace

nlohmann::json RunMayflyPuts(const MayflyTarget& target, const Puts& puts) {
  const std::vector<Stubs> stubs = Connect(target.address, target.certificate_directory, 1);
  Stub* const client = stubs[0].client.get();
  PutProgress progress(puts);
  std::unique_ptr<MayflySession> session;
  if (puts.by_session) session = std::make_unique<MayflySession>(client);
  std::vector<std::unique_ptr<BatchLane>> lanes;
  for (uint32_t i = 0; i < puts.under_way; ++i) {
    progress.Begun();
    lanes.push_back(std::make_unique<BatchLane>(client, session.get(), &progress));
    lanes.back()->Begin();
  }
  std::this_thread::sleep_for(std::chrono::nanoseconds(puts.warm_up_ns));
  const uint64_t before = progress.answered();
  const int64_t begun_ns = NowNs();
  std::this_thread::sleep_for(std::chrono::nanoseconds(puts.measure_ns));
  const uint64_t items = progress.answered() - before;
  const double seconds = static_cast<double>(NowNs() - begun_ns) / 1e9;
  progress.Stop();
  progress.WaitForEnd();
  if (session != nullptr) session->Close();
  return {{"items", items},
          {"seconds", seconds},
          {"items_per_s", static_cast<double>(items) / seconds}};
}

}  // namespace mayfly::peers
