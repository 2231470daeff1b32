#include "null_transfers.h"

#include <utility>

namespace mayfly::peers {
namespace {

// Deletes itself when gRPC is done with it.
class NullUpload final : public grpc::ServerReadReactor<v1::UploadRequest> {
 public:
  NullUpload(TransferMap* map, v1::UploadResponse* response) : map_(map), response_(response) {
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return Finish({grpc::StatusCode::INVALID_ARGUMENT, "no finish"});
    switch (request_.step_case()) {
      case v1::UploadRequest::kHeader:
        response_->set_call_id(request_.header().has_input()
                                   ? request_.header().input().call_id()
                                   : request_.header().output().call_id());
        break;
      case v1::UploadRequest::kSegment:
        stored_.size_bytes += request_.segment().data().size();
        stored_.segments.push_back(std::move(*request_.mutable_segment()->mutable_data()));
        break;
      case v1::UploadRequest::kFinish:
        stored_.crc32c = request_.finish().crc32c();
        map_->Put(response_->call_id(), std::move(stored_));
        return Finish(grpc::Status::OK);
      case v1::UploadRequest::STEP_NOT_SET:
        break;
    }
    StartRead(&request_);
  }

  void OnDone() override { delete this; }

 private:
  TransferMap* const map_;
  v1::UploadResponse* const response_;
  v1::UploadRequest request_;
  TransferMap::Stored stored_;
};

// Deletes itself when gRPC is done with it.
class NullDownload final : public grpc::ServerWriteReactor<v1::DownloadResponse> {
 public:
  explicit NullDownload(std::shared_ptr<const TransferMap::Stored> stored)
      : stored_(std::move(stored)) {
    if (stored_ == nullptr) {
      Finish({grpc::StatusCode::NOT_FOUND, "no such payload"});
      return;
    }
    v1::DownloadHeader* const header = response_.mutable_header();
    header->set_size_bytes(stored_->size_bytes);
    header->mutable_payload()->set_crc32c(stored_->crc32c);
    header->set_attempt(1);
    header->set_outcome(v1::OUTCOME_SUCCESS);
    StartWrite(&response_);
  }

  void OnWriteDone(bool ok) override {
    if (!ok || response_.has_finish()) return Finish(grpc::Status::OK);
    if (next_ == stored_->segments.size()) {
      response_.mutable_finish()->set_size_bytes(stored_->size_bytes);
      response_.mutable_finish()->set_crc32c(stored_->crc32c);
    } else {
      v1::DownloadSegment* const segment = response_.mutable_segment();
      segment->set_offset_bytes(offset_);
      segment->set_data(stored_->segments[next_]);
      offset_ += segment->data().size();
      ++next_;
    }
    StartWrite(&response_);
  }

  void OnDone() override { delete this; }

 private:
  const std::shared_ptr<const TransferMap::Stored> stored_;
  v1::DownloadResponse response_;
  size_t next_ = 0;
  uint64_t offset_ = 0;
};

}  // namespace

grpc::ServerReadReactor<v1::UploadRequest>* TransferMap::Upload(v1::UploadResponse* response) {
  return new NullUpload(this, response);
}

grpc::ServerWriteReactor<v1::DownloadResponse>* TransferMap::Download(
    const v1::DownloadRequest& request) {
  return new NullDownload(Get(request.call_id()));
}

void TransferMap::Put(const std::string& call_id, Stored stored) {
  auto shared = std::make_shared<const Stored>(std::move(stored));
  MutexLock lock(&mutex_);
  payloads_.insert_or_assign(call_id, std::move(shared));
}

std::shared_ptr<const TransferMap::Stored> TransferMap::Get(const std::string& call_id) {
  MutexLock lock(&mutex_);
  const auto found = payloads_.find(call_id);
  return found == payloads_.end() ? nullptr : found->second;
}

void TransferMap::Erase(const std::string& call_id) {
  MutexLock lock(&mutex_);
  payloads_.erase(call_id);
}

}  // namespace mayfly::peers
