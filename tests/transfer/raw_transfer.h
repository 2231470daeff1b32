// Upload and Download RPCs message by message, for tests that stop in the middle.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/time/time.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "e2e/test_client.h"
#include "support/payload_stream.h"

namespace mayfly {

inline constexpr uint64_t kSegmentBytes = uint64_t{1} << 20;

// For a clock that is read before or after the server's.
inline constexpr absl::Duration kClockMargin = absl::Milliseconds(250);

// One Upload RPC of Pattern(seed, size).
class RawUpload {
 public:
  struct Header {
    std::string upload_id = NewClaimToken();
    std::string call_id;
    bool is_output = false;
    uint32_t attempt = 1;  // outputs only
    uint64_t offset_bytes = 0;
  };

  RawUpload(TestClient* client, const Header& header, uint64_t seed, uint64_t size)
      : seed_(seed), size_(size), offset_(header.offset_bytes) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    stream_ = client->stub()->Upload(&context_, &response_);
    v1::UploadRequest request;
    request.mutable_header()->set_upload_id(header.upload_id);
    request.mutable_header()->set_offset_bytes(header.offset_bytes);
    if (header.is_output) {
      request.mutable_header()->mutable_output()->set_call_id(header.call_id);
      request.mutable_header()->mutable_output()->set_attempt(header.attempt);
    } else {
      request.mutable_header()->mutable_input()->set_call_id(header.call_id);
    }
    stream_->Write(request);
  }
  ~RawUpload() {
    if (!is_finished_) Vanish();
  }

  // Segments up to there; false when the server has ended the stream.
  bool SendUpTo(uint64_t end) {
    bool goes_on = true;
    while (goes_on && offset_ < std::min(end, size_)) {
      v1::UploadRequest request;
      request.mutable_segment()->set_offset_bytes(offset_);
      std::string* const data = request.mutable_segment()->mutable_data();
      data->resize(std::min(kSegmentBytes, size_ - offset_));
      FillPattern(seed_, offset_, data->data(), data->size());
      offset_ += data->size();
      goes_on = stream_->Write(request);
    }
    return goes_on;
  }
  // The rest and the finish.
  std::string Finish() {
    SendUpTo(size_);
    v1::UploadRequest request;
    request.mutable_finish()->set_size_bytes(size_);
    request.mutable_finish()->set_crc32c(Crc32c(AsBytes(Pattern(seed_, size_))));
    stream_->Write(request);
    return End();
  }
  // Without a finish.
  std::string End() {
    stream_->WritesDone();
    is_finished_ = true;
    return Summary(stream_->Finish());
  }
  // As if its process were gone.
  void Vanish() {
    context_.TryCancel();
    is_finished_ = true;
    stream_->Finish();
  }

 private:
  const uint64_t seed_;
  const uint64_t size_;
  uint64_t offset_;
  bool is_finished_ = false;
  grpc::ClientContext context_;
  v1::UploadResponse response_;
  std::unique_ptr<grpc::ClientWriter<v1::UploadRequest>> stream_;
};

// "OK" and how much is kept, or the error.
inline std::string QueryUpload(TestClient* client, const std::string& upload_id,
                               v1::QueryUploadResponse* response) {
  v1::QueryUploadRequest request;
  request.set_upload_id(upload_id);
  return Summary(client->Call(&v1::FunctionIo::Stub::QueryUpload, request, response));
}

}  // namespace mayfly
