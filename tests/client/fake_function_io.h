// A FunctionIo server in this process, with the contract's rules in their plainest form, that can
// be told to fail and that records what it was asked.
//
// It knows no deadlines, tenants or roles. Thread-safe.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>

#include "base/mutex.h"
#include "mayfly/error.h"
#include "mayfly/v1/function_io.grpc.pb.h"

namespace mayfly {

// Of all that is put.
constexpr int64_t kDeadlineSeconds = 2'000'000'000;

// With google.rpc details as the real server sends them.
google::rpc::Status ItemError(absl::StatusCode code, Reason reason, const std::string& message,
                              absl::Duration retry_delay = absl::ZeroDuration());
// Of a put whose id is so far ahead of the server's clock.
google::rpc::Status IdTimeError(absl::Duration id_ahead);
grpc::Status RpcError(absl::StatusCode code, Reason reason, const std::string& message,
                      absl::Duration retry_delay = absl::ZeroDuration());

// Of requests of a session: no answer ever, or behind the next one.
grpc::Status NoAnswer();
grpc::Status LateAnswer();

// What happens to one RPC.
struct Fault {
  enum class When {
    kBefore,     // refused with `status`, nothing was done
    kAfter,      // done, and the answer is lost: `status` comes in its place
    kSilence,    // nothing is done, and no answer comes until the client gives up
    kItem,       // the item with index `item` fails with `item_status`, the others are done
    kCorrupted,  // done, and payloads are answered with a flipped bit
    kLate,       // done, and answered when the next request has come. On sessions only.
    // Of streams:
    kBroken,  // the stream breaks behind its segment or request with index `item`; a subscription's
              // session behind the output with that index
    kForgotten,   // an upload breaks behind that segment, and nothing of it is kept
    kTruncated,   // a download ends behind that segment, or -1: its header, as if it were complete
    kUnfinished,  // a download says it is complete behind that segment
    kWrongCrc,    // a download's finish has the CRC-32C of something else
    kOverlap,     // a download sends its first segment again
    kTwice,       // every output is sent twice
  };
  When when = When::kBefore;
  grpc::Status status = RpcError(absl::StatusCode::kUnavailable, Reason::kStarting, "recovering");
  int item = 0;
  google::rpc::Status item_status;
};

// Only answers with payloads can be corrupted.
inline void Corrupt(google::protobuf::Message*) {}
inline void Corrupt(v1::GetInputsResponse* response) {
  for (auto& result : *response->mutable_results()) {
    (*result.mutable_payload()->mutable_data())[0] ^= 1;
  }
}
inline void Corrupt(v1::ClaimOutputsResponse* response) {
  for (auto& output : *response->mutable_outputs()) {
    (*output.mutable_payload()->mutable_data())[0] ^= 1;
  }
}

template <typename Response>
void SetItemStatus(Response* response, int index, const google::rpc::Status& status) {
  if constexpr (requires { response->mutable_results(); }) {
    *response->mutable_results(index)->mutable_status() = status;
  }
}

class FakeFunctionIo : public v1::FunctionIo::Service {
 public:
  explicit FakeFunctionIo(
      std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials());
  ~FakeFunctionIo() override;

  // "127.0.0.1:port"
  const std::string& target() const { return target_; }

  // The next call of `rpc` ("PutInputs") meets `fault`; further ones queue up behind it.
  void FailNext(const std::string& rpc, Fault fault);
  // As long as set, meets all calls of `rpc`.
  void FailAlways(const std::string& rpc, Fault fault);

  // From now on the server's clock is so far ahead of this machine's, and inputs are refused whose
  // ids are more than 5 min off it. Before, all ids are taken.
  void SetClock(absl::Duration ahead);
  // As a restart does: all claims are forgotten, and fences start anew.
  void ForgetClaims();
  // Puts an output as a worker would.
  void AddOutput(const std::string& call_id, uint32_t attempt, const std::string& data);
  // As another client would: claims, and acks if so told.
  void ClaimElsewhere(const std::string& call_id, bool ack);

  // What was put, or nothing.
  std::optional<std::string> InputOf(const std::string& call_id);

  // Called, without a lock, when acks come in, by an RPC of their own or on a stream.
  void OnAck(std::function<void()> observer);

  // The names of the RPCs so far, in order, and their requests, whether these came on a session or
  // not. Beside them, "Ack" and "Release" for each output that was acknowledged or released,
  // whatever brought that. "Session" and "SessionEnd" are not among them, but are counted and
  // waited for.
  std::vector<std::string> Events();
  int CountOf(const std::string& rpc);
  // Waits until `rpc` was called `count` times. False after 60 s.
  bool WaitFor(const std::string& rpc, int count);
  template <typename Request>
  std::vector<Request> RequestsOf();
  // Waits for a call with a certificate of this common name. False after 60 s.
  bool WaitForPeer(const std::string& common_name);

  grpc::Status PutInputs(grpc::ServerContext* context, const v1::PutInputsRequest* request,
                         v1::PutInputsResponse* response) override;
  grpc::Status GetInputs(grpc::ServerContext* context, const v1::GetInputsRequest* request,
                         v1::GetInputsResponse* response) override;
  grpc::Status PutOutputs(grpc::ServerContext* context, const v1::PutOutputsRequest* request,
                          v1::PutOutputsResponse* response) override;
  grpc::Status ClaimOutputs(grpc::ServerContext* context, const v1::ClaimOutputsRequest* request,
                            v1::ClaimOutputsResponse* response) override;
  grpc::Status AckOutputs(grpc::ServerContext* context, const v1::AckOutputsRequest* request,
                          v1::AckOutputsResponse* response) override;
  grpc::Status ReleaseOutputs(grpc::ServerContext* context,
                              const v1::ReleaseOutputsRequest* request,
                              v1::ReleaseOutputsResponse* response) override;
  grpc::Status RenewClaims(grpc::ServerContext* context, const v1::RenewClaimsRequest* request,
                           v1::RenewClaimsResponse* response) override;
  grpc::Status DescribeCalls(grpc::ServerContext* context, const v1::DescribeCallsRequest* request,
                             v1::DescribeCallsResponse* response) override;
  // Version "1.2.3", a time of kDeadlineSeconds, role "client", an id_window of 5 min.
  grpc::Status GetServerInfo(grpc::ServerContext* context, const v1::GetServerInfoRequest* request,
                             v1::GetServerInfoResponse* response) override;
  grpc::Status DeleteCalls(grpc::ServerContext* context, const v1::DeleteCallsRequest* request,
                           v1::DeleteCallsResponse* response) override;
  grpc::Status Upload(grpc::ServerContext* context, grpc::ServerReader<v1::UploadRequest>* reader,
                      v1::UploadResponse* response) override;
  grpc::Status QueryUpload(grpc::ServerContext* context, const v1::QueryUploadRequest* request,
                           v1::QueryUploadResponse* response) override;
  grpc::Status Download(grpc::ServerContext* context, const v1::DownloadRequest* request,
                        grpc::ServerWriter<v1::DownloadResponse>* writer) override;
  // Carries out its requests as the RPCs do, one after the other. kBroken: the frame with that
  // request is carried out up to it, and not answered. Its subscriptions are events: "Subscription"
  // when one is opened, and "SubscriptionMessage" for each message. kBefore of "Subscription": it
  // ends at once.
  grpc::Status Session(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<v1::SessionResponse, v1::SessionRequest>* stream) override;

 private:
  class Subscriptions;
  struct UnfinishedUpload {
    v1::UploadHeader header;
    std::string data;
  };
  struct Call {
    std::optional<v1::Payload> input;
    std::optional<v1::OutputItem> output;
    std::string claim_token;  // empty: not claimed
    uint64_t fence = 0;
    std::string acked_token;  // not empty: consumed
    bool deleted = false;
  };
  struct Table {
    google::rpc::Status CheckLive(const std::string& call_id) const;
    google::rpc::Status CheckIdTime(const std::string& call_id) const;
    google::rpc::Status CheckClaim(const std::string& call_id, const std::string& token,
                                   uint64_t fence) const;

    // As the RPCs of these names do with one item.
    void PutInput(const v1::InputItem& item, v1::PutInputResult* result);
    void PutOutput(const v1::OutputItem& item, v1::PutOutputResult* result);
    void Ack(const v1::AckItem& item, const std::string& token, v1::AckResult* result);
    void Release(const v1::ReleaseItem& item, const std::string& token, v1::ReleaseResult* result);
    // Claims the output, which is there and free.
    void Claim(const std::string& call_id, const std::string& token, uint64_t max_bytes,
               v1::ClaimedOutput* output);

    std::map<std::string, Call> calls;
    std::map<std::string, UnfinishedUpload> uploads;
    uint64_t next_fence = 1;
    std::optional<absl::Duration> clock_ahead;  // none: the time of an id does not matter
  };

  // Runs `work` on the table, between the faults, under the lock.
  template <typename Request, typename Response, typename Work>
  grpc::Status Serve(const std::string& rpc, grpc::ServerContext* context, const Request& request,
                     Response* response, Work work) EXCLUDES_LOCK(mutex_);
  std::optional<Fault> TakeFault(const std::string& rpc) REQUIRES_LOCK(mutex_);
  int CountEvents(const std::string& rpc) REQUIRES_LOCK(mutex_);
  void TellAck() EXCLUDES_LOCK(mutex_);
  // The RPC of a request.
  grpc::Status ServeNumbered(grpc::ServerContext* context, const v1::NumberedRequest& request,
                             v1::NumberedResponse* response);
  // Until the client gives up.
  grpc::Status StayInSilence(grpc::ServerContext* context) REQUIRES_LOCK(mutex_);
  template <typename Request>
  void Record(const std::string& rpc, const Request& request) REQUIRES_LOCK(mutex_);
  grpc::Status TakeSegment(const v1::UploadSegment& segment, UnfinishedUpload* upload);
  grpc::Status FinishUpload(const v1::UploadFinish& finish, const std::string& upload_id,
                            v1::UploadResponse* response) REQUIRES_LOCK(mutex_);

  Mutex mutex_;
  ConditionVariable changed_;
  Table table_ GUARDED_BY(mutex_);
  std::map<std::string, std::deque<Fault>> faults_ GUARDED_BY(mutex_);
  std::map<std::string, Fault> lasting_faults_ GUARDED_BY(mutex_);
  std::function<void()> on_ack_ GUARDED_BY(mutex_);
  std::vector<std::string> events_ GUARDED_BY(mutex_);
  std::vector<std::string> session_events_ GUARDED_BY(mutex_);
  std::set<const grpc::ServerContext*> sessions_ GUARDED_BY(mutex_);
  std::set<std::string> peers_ GUARDED_BY(mutex_);  // common names
  std::vector<std::unique_ptr<google::protobuf::Message>> requests_ GUARDED_BY(mutex_);
  std::string target_;
  std::unique_ptr<grpc::Server> server_;
};

template <typename Request>
void FakeFunctionIo::Record(const std::string& rpc, const Request& request) {
  events_.push_back(rpc);
  requests_.push_back(std::make_unique<Request>(request));
  changed_.NotifyAll();
}

template <typename Request, typename Response, typename Work>
grpc::Status FakeFunctionIo::Serve(const std::string& rpc, grpc::ServerContext* context,
                                   const Request& request, Response* response, Work work) {
  MutexLock lock(&mutex_);
  for (const auto& name : context->auth_context()->FindPropertyValues("x509_common_name")) {
    peers_.emplace(name.data(), name.size());
  }
  Record(rpc, request);
  const std::optional<Fault> fault = TakeFault(rpc);
  if (fault.has_value() && fault->when == Fault::When::kBefore) return fault->status;
  if (fault.has_value() && fault->when == Fault::When::kSilence) return StayInSilence(context);
  work(&table_);
  changed_.NotifyAll();
  if (!fault.has_value()) return grpc::Status::OK;
  if (fault->when == Fault::When::kAfter) return fault->status;
  if (fault->when == Fault::When::kLate) return LateAnswer();
  if (fault->when == Fault::When::kCorrupted) Corrupt(response);
  if (fault->when == Fault::When::kItem) SetItemStatus(response, fault->item, fault->item_status);
  return grpc::Status::OK;
}

template <typename Request>
std::vector<Request> FakeFunctionIo::RequestsOf() {
  MutexLock lock(&mutex_);
  std::vector<Request> result;
  for (const auto& message : requests_) {
    if (const auto* request = dynamic_cast<const Request*>(message.get())) {
      result.push_back(*request);
    }
  }
  return result;
}

}  // namespace mayfly
