// The streams of the fake server.
#include <algorithm>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"

#include "base/crc32c.h"
#include "client/fake_function_io.h"

namespace mayfly {
namespace {

constexpr size_t kSegmentBytes = 1 << 20;

grpc::Status Refuse(absl::StatusCode code, Reason reason) { return RpcError(code, reason, "no"); }

grpc::Status FromItem(const google::rpc::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), status.message(),
                      status.SerializeAsString());
}

void SetStatus(const grpc::Status& from, google::rpc::Status* status) {
  status->ParseFromString(from.error_details());
  status->set_code(from.error_code());
  status->set_message(from.error_message());
}

bool Meets(const std::optional<Fault>& fault, Fault::When when, int item) {
  return fault.has_value() && fault->when == when && fault->item == item;
}

}  // namespace

grpc::Status FakeFunctionIo::Upload(grpc::ServerContext* context,
                                    grpc::ServerReader<v1::UploadRequest>* reader,
                                    v1::UploadResponse* response) {
  v1::UploadRequest request;
  if (!reader->Read(&request)) return grpc::Status::CANCELLED;
  const v1::UploadHeader header = request.header();
  std::optional<Fault> fault;
  {
    MutexLock lock(&mutex_);
    Record("Upload", header);
    fault = TakeFault("Upload");
    if (fault.has_value() && fault->when == Fault::When::kBefore) return fault->status;
    if (header.has_input()) {
      const google::rpc::Status status = table_.CheckIdTime(header.input().call_id());
      if (status.code() != 0) return FromItem(status);
    }
    UnfinishedUpload& upload = table_.uploads[header.upload_id()];
    upload.header = header;
    if (header.offset_bytes() != upload.data.size()) {
      return Refuse(absl::StatusCode::kOutOfRange, Reason::kOffsetMismatch);
    }
  }
  if (fault.has_value() && fault->when == Fault::When::kSilence) {
    MutexLock lock(&mutex_);
    return StayInSilence(context);
  }
  for (int i = 0; reader->Read(&request); ++i) {
    MutexLock lock(&mutex_);
    if (request.has_finish()) {
      const grpc::Status status = FinishUpload(request.finish(), header.upload_id(), response);
      return fault.has_value() && fault->when == Fault::When::kAfter ? fault->status : status;
    }
    const grpc::Status status = TakeSegment(request.segment(), &table_.uploads[header.upload_id()]);
    if (!status.ok()) return status;
    if (Meets(fault, Fault::When::kForgotten, i)) table_.uploads.erase(header.upload_id());
    if (Meets(fault, Fault::When::kForgotten, i)) return fault->status;
    if (Meets(fault, Fault::When::kBroken, i)) return fault->status;
  }
  return Refuse(absl::StatusCode::kInvalidArgument, Reason::kFieldInvalid);
}

grpc::Status FakeFunctionIo::StayInSilence(grpc::ServerContext* context) {
  if (sessions_.contains(context)) return NoAnswer();
  while (!context->IsCancelled()) changed_.WaitFor(&mutex_, absl::Milliseconds(5));
  return grpc::Status::CANCELLED;
}

grpc::Status FakeFunctionIo::TakeSegment(const v1::UploadSegment& segment,
                                         UnfinishedUpload* upload) {
  if (segment.offset_bytes() != upload->data.size()) {
    return Refuse(absl::StatusCode::kOutOfRange, Reason::kOffsetMismatch);
  }
  if (segment.data().empty() || segment.data().size() > kSegmentBytes) {
    return Refuse(absl::StatusCode::kInvalidArgument, Reason::kFieldInvalid);
  }
  upload->data += segment.data();
  return grpc::Status::OK;
}

grpc::Status FakeFunctionIo::FinishUpload(const v1::UploadFinish& finish,
                                          const std::string& upload_id,
                                          v1::UploadResponse* response) {
  UnfinishedUpload upload = std::move(table_.uploads[upload_id]);
  table_.uploads.erase(upload_id);
  if (finish.size_bytes() != upload.data.size()) {
    return Refuse(absl::StatusCode::kOutOfRange, Reason::kOffsetMismatch);
  }
  if (finish.crc32c() != Crc32c(AsBytes(upload.data))) {
    return Refuse(absl::StatusCode::kInvalidArgument, Reason::kChecksumMismatch);
  }
  response->mutable_deadline_time()->set_seconds(kDeadlineSeconds);
  if (upload.header.has_input()) {
    upload.header.mutable_input()->mutable_payload()->set_data(upload.data);
    v1::PutInputResult result;
    table_.PutInput(upload.header.input(), &result);
    response->set_call_id(result.call_id());
    return FromItem(result.status());
  }
  upload.header.mutable_output()->mutable_payload()->set_data(upload.data);
  v1::PutOutputResult result;
  table_.PutOutput(upload.header.output(), &result);
  response->set_call_id(result.call_id());
  changed_.NotifyAll();
  return FromItem(result.status());
}

grpc::Status FakeFunctionIo::QueryUpload(grpc::ServerContext* context,
                                         const v1::QueryUploadRequest* request,
                                         v1::QueryUploadResponse* response) {
  bool is_known = false;
  const grpc::Status status = Serve("QueryUpload", context, *request, response, [&](Table* table) {
    const auto found = table->uploads.find(request->upload_id());
    is_known = found != table->uploads.end();
    if (is_known) response->set_committed_bytes(found->second.data.size());
  });
  if (!status.ok() || is_known) return status;
  return Refuse(absl::StatusCode::kNotFound, Reason::kUploadUnknown);
}

grpc::Status FakeFunctionIo::Download(grpc::ServerContext* context,
                                      const v1::DownloadRequest* request,
                                      grpc::ServerWriter<v1::DownloadResponse>* writer) {
  std::string data;
  std::optional<Fault> fault;
  v1::DownloadResponse response;
  {
    MutexLock lock(&mutex_);
    Record("Download", *request);
    fault = TakeFault("Download");
    if (fault.has_value() && fault->when == Fault::When::kBefore) return fault->status;
    if (fault.has_value() && fault->when == Fault::When::kSilence) return StayInSilence(context);
    const bool is_output = request->kind() == v1::PAYLOAD_KIND_OUTPUT;
    const google::rpc::Status status =
        is_output ? table_.CheckClaim(request->call_id(), request->claim_token(), request->fence())
                  : table_.CheckLive(request->call_id());
    if (status.code() != 0) return FromItem(status);
    const Call& call = table_.calls[request->call_id()];
    v1::DownloadHeader* header = response.mutable_header();
    *header->mutable_payload() = is_output ? call.output->payload() : *call.input;
    data = header->payload().data();
    header->mutable_payload()->clear_data();
    header->mutable_payload()->set_crc32c(Crc32c(AsBytes(data)));
    header->set_size_bytes(data.size());
    header->mutable_deadline_time()->set_seconds(kDeadlineSeconds);
    if (is_output) header->set_attempt(call.output->attempt());
    if (is_output) header->set_outcome(call.output->outcome());
  }
  writer->Write(response);
  if (Meets(fault, Fault::When::kTruncated, -1)) return grpc::Status::OK;
  size_t offset = request->offset_bytes();
  for (int i = 0; offset < data.size(); ++i) {
    std::string piece = data.substr(offset, kSegmentBytes);
    if (fault.has_value() && fault->when == Fault::When::kCorrupted) piece[0] ^= 1;
    response.mutable_segment()->set_offset_bytes(offset);
    response.mutable_segment()->set_data(std::move(piece));
    writer->Write(response);
    if (Meets(fault, Fault::When::kOverlap, i)) continue;
    offset += response.segment().data().size();
    if (Meets(fault, Fault::When::kBroken, i)) return fault->status;
    if (Meets(fault, Fault::When::kTruncated, i)) return grpc::Status::OK;
    if (Meets(fault, Fault::When::kUnfinished, i)) break;
  }
  response.mutable_finish()->set_size_bytes(data.size());
  response.mutable_finish()->set_crc32c(Crc32c(AsBytes(data)));
  if (fault.has_value() && fault->when == Fault::When::kWrongCrc) {
    response.mutable_finish()->set_crc32c(~response.finish().crc32c());
  }
  writer->Write(response);
  return grpc::Status::OK;
}

grpc::Status FakeFunctionIo::ServeNumbered(grpc::ServerContext* context,
                                           const v1::NumberedRequest& request,
                                           v1::NumberedResponse* response) {
  switch (request.request_case()) {
    case v1::NumberedRequest::kPutInputs:
      return PutInputs(context, &request.put_inputs(), response->mutable_put_inputs());
    case v1::NumberedRequest::kGetInputs:
      return GetInputs(context, &request.get_inputs(), response->mutable_get_inputs());
    case v1::NumberedRequest::kPutOutputs:
      return PutOutputs(context, &request.put_outputs(), response->mutable_put_outputs());
    case v1::NumberedRequest::kAckOutputs:
      return AckOutputs(context, &request.ack_outputs(), response->mutable_ack_outputs());
    case v1::NumberedRequest::kReleaseOutputs:
      return ReleaseOutputs(context, &request.release_outputs(),
                            response->mutable_release_outputs());
    case v1::NumberedRequest::kRenewClaims:
      return RenewClaims(context, &request.renew_claims(), response->mutable_renew_claims());
    case v1::NumberedRequest::kDescribeCalls:
      return DescribeCalls(context, &request.describe_calls(), response->mutable_describe_calls());
    case v1::NumberedRequest::kDeleteCalls:
      return DeleteCalls(context, &request.delete_calls(), response->mutable_delete_calls());
    case v1::NumberedRequest::kClaimOutputs:  // the client claims by RPCs
    case v1::NumberedRequest::REQUEST_NOT_SET:
      break;
  }
  return Refuse(absl::StatusCode::kInvalidArgument, Reason::kFieldInvalid);
}

// The subscriptions of one session: the handler's thread takes requests, another pushes.
class FakeFunctionIo::Subscriptions {
 public:
  using Stream = grpc::ServerReaderWriter<v1::SessionResponse, v1::SessionRequest>;

  Subscriptions(FakeFunctionIo* fake, grpc::ServerContext* context, Stream* stream)
      : fake_(fake), context_(context), stream_(stream) {}

  // The session is over: its claims are released before the client sees the end.
  ~Subscriptions() {
    {
      MutexLock lock(&fake_->mutex_);
      is_over_ = true;
      for (const auto& [number, one] : open_) ReleaseClaimsOf(one);
      fake_->changed_.NotifyAll();
    }
    if (pusher_.joinable()) pusher_.join();
  }

  void Take(const v1::SubscriptionRequest& request) {
    MutexLock lock(&fake_->mutex_);
    fake_->Record("SubscriptionMessage", request);
    const auto [found, is_new] = open_.try_emplace(request.number());
    One& one = found->second;
    if (is_new) {
      one.token = request.open().claim_token();
      one.max_bytes = request.open().max_bytes();
      fake_->events_.push_back("Subscription");
      one.fault = fake_->TakeFault("Subscription");
      one.is_refused = one.fault.has_value() && one.fault->when == Fault::When::kBefore;
    }
    one.credit_items += request.credit().item_count();
    one.credit_bytes += static_cast<int64_t>(request.credit().bytes());
    for (const std::string& call_id : request.subscribe_call_ids()) one.calls.insert(call_id);
    for (const std::string& call_id : request.unsubscribe_call_ids()) one.calls.erase(call_id);
    one.is_ended |= request.has_end();
    if (request.has_end() && !request.end().keep_claims()) ReleaseClaimsOf(one);
    if (!pusher_.joinable()) pusher_ = std::thread([this] { Push(); });
    fake_->changed_.NotifyAll();
  }

  // From either thread.
  void Write(const v1::SessionResponse& message) {
    MutexLock lock(&write_mutex_);
    stream_->Write(message);
  }

 private:
  struct One {
    std::optional<Fault> fault;
    int pushed = 0;
    bool is_refused = false;
    bool is_ended = false;
    std::string token;
    uint64_t max_bytes = 0;
    int64_t credit_items = 0;
    int64_t credit_bytes = 0;
    std::set<std::string> calls;
  };

  void Push() {
    while (true) {
      v1::SessionResponse message;
      bool breaks = false;
      {
        MutexLock lock(&fake_->mutex_);
        while (!is_over_ && !Fill(&message, &breaks)) fake_->changed_.Wait(&fake_->mutex_);
        if (is_over_) return;
      }
      Write(message);
      if (breaks) return context_->TryCancel();
    }
  }

  bool Fill(v1::SessionResponse* message, bool* breaks) REQUIRES_LOCK(fake_->mutex_) {
    for (auto it = open_.begin(); it != open_.end();) {
      v1::SubscriptionResponse part;
      const bool is_last = Fill(&it->second, &part, breaks);
      part.set_number(it->first);
      it = is_last ? open_.erase(it) : std::next(it);
      const bool is_empty = part.outputs().empty() && part.ended().empty() && !part.has_end();
      if (!is_empty) *message->add_subscriptions() = std::move(part);
    }
    return !message->subscriptions().empty();
  }

  // True: the subscription is over.
  bool Fill(One* one, v1::SubscriptionResponse* part, bool* breaks) REQUIRES_LOCK(fake_->mutex_) {
    if (one->is_ended || one->is_refused) {
      part->mutable_end()->set_code(0);
      if (!one->is_ended) SetStatus(one->fault->status, part->mutable_end());
      return true;
    }
    const auto meets = [&](Fault::When when) {
      return one->fault.has_value() && one->fault->when == when;
    };
    for (auto it = one->calls.begin(); it != one->calls.end() && !*breaks;) {
      const std::string call_id = *it;
      google::rpc::Status live = fake_->table_.CheckLive(call_id);
      const Call& call = fake_->table_.calls[call_id];
      // What the token has claimed comes again if it is asked for again.
      const bool is_free = call.claim_token.empty() || call.claim_token == one->token;
      const bool is_ready = call.output.has_value() && is_free;
      if (live.code() != 0) {
        v1::EndedCall* ended = part->add_ended();
        ended->set_call_id(call_id);
        *ended->mutable_status() = std::move(live);
        it = one->calls.erase(it);
      } else if (is_ready && one->credit_items > 0 && one->credit_bytes > 0) {
        v1::ClaimedOutput* output = part->add_outputs();
        fake_->table_.Claim(call_id, one->token, one->max_bytes, output);
        --one->credit_items;
        one->credit_bytes -= static_cast<int64_t>(output->payload().data().size());
        it = one->calls.erase(it);
        *breaks |= meets(Fault::When::kBroken) && one->pushed++ >= one->fault->item;
        if (meets(Fault::When::kTwice)) *part->add_outputs() = v1::ClaimedOutput(*output);
        if (meets(Fault::When::kCorrupted)) (*output->mutable_payload()->mutable_data())[0] ^= 1;
      } else {
        ++it;
      }
    }
    return false;
  }

  void ReleaseClaimsOf(const One& one) REQUIRES_LOCK(fake_->mutex_) {
    for (auto& [call_id, call] : fake_->table_.calls) {
      if (call.claim_token == one.token) call.claim_token.clear();
    }
  }

  FakeFunctionIo* const fake_;
  grpc::ServerContext* const context_;
  Stream* const stream_;
  Mutex write_mutex_;
  std::thread pusher_;
  // Under the fake's lock.
  bool is_over_ = false;
  std::map<uint64_t, One> open_;
};

grpc::Status FakeFunctionIo::Session(
    grpc::ServerContext* context,
    grpc::ServerReaderWriter<v1::SessionResponse, v1::SessionRequest>* stream) {
  std::optional<Fault> fault;
  {
    MutexLock lock(&mutex_);
    sessions_.insert(context);
    session_events_.push_back("Session");
    changed_.NotifyAll();
    fault = TakeFault("Session");
  }
  bool is_over = fault.has_value() && fault->when == Fault::When::kBefore;
  {
    Subscriptions subscriptions(this, context, stream);
    v1::SessionRequest frame;
    v1::SessionResponse late;
    int served = 0;
    while (!is_over && stream->Read(&frame)) {
      {
        MutexLock lock(&mutex_);
        requests_.push_back(std::make_unique<v1::SessionRequest>(frame));
      }
      v1::SessionResponse answers;
      answers.Swap(&late);
      for (const v1::NumberedRequest& request : frame.requests()) {
        v1::NumberedResponse answer;
        answer.set_number(request.number());
        const grpc::Status served_status = ServeNumbered(context, request, &answer);
        if (served_status.error_message() == LateAnswer().error_message()) {
          *late.add_responses() = std::move(answer);
        } else if (served_status.error_message() != NoAnswer().error_message()) {
          if (!served_status.ok()) {
            answer.clear_response();
            SetStatus(served_status, answer.mutable_status());
          }
          *answers.add_responses() = std::move(answer);
        }
        is_over = Meets(fault, Fault::When::kBroken, served++);
        if (is_over) break;
      }
      if (is_over) break;
      for (const auto& request : frame.subscriptions()) subscriptions.Take(request);
      if (answers.responses_size() > 0) subscriptions.Write(answers);
    }
  }
  MutexLock lock(&mutex_);
  sessions_.erase(context);
  session_events_.push_back("SessionEnd");
  changed_.NotifyAll();
  return is_over ? fault->status : grpc::Status::OK;
}

}  // namespace mayfly
