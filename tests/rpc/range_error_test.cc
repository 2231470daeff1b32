// Every error of a value outside its range says for programs which bound was crossed.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <google/rpc/error_details.pb.h>
#include <gtest/gtest.h>

#include "e2e/subscription_call.h"
#include "rpc/served_store.h"

namespace mayfly {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;
using Stub = v1::FunctionIo::Stub;

constexpr int kTooManyItems = 513;
constexpr uint64_t kSegment = 1 << 20;

google::rpc::Status WireStatusOf(const grpc::Status& status) {
  google::rpc::Status wire;
  wire.ParseFromString(status.error_details());
  return wire;
}

std::map<std::string, std::string> MetadataOf(const google::rpc::Status& status) {
  google::rpc::ErrorInfo info;
  if (status.details_size() > 0) status.details(0).UnpackTo(&info);
  return {info.metadata().begin(), info.metadata().end()};
}

google::protobuf::Duration DurationOf(int64_t seconds, int32_t nanos = 0) {
  google::protobuf::Duration duration;
  duration.set_seconds(seconds);
  duration.set_nanos(nanos);
  return duration;
}

// Sends a request that is rejected; returns the status.
using Send = std::function<google::rpc::Status(ServedStore* served)>;

template <typename Request, typename Response>
Send RejectedRpc(grpc::Status (Stub::*rpc)(grpc::ClientContext*, const Request&, Response*),
                 std::function<void(Request*)> fill) {
  return [rpc, fill](ServedStore* served) {
    Request request;
    fill(&request);
    Response response;
    return WireStatusOf(served->client->Call(rpc, request, &response));
  };
}

// An input that is good until `change`.
Send RejectedPut(std::function<void(v1::InputItem*)> change) {
  return [change](ServedStore* served) {
    v1::PutInputsRequest request;
    v1::InputItem* const item = request.add_items();
    item->set_call_id(served->harness.NewId().ToString());
    item->mutable_payload();
    change(item);
    v1::PutInputsResponse response;
    const grpc::Status status = served->client->Call(&Stub::PutInputs, request, &response);
    return status.ok() ? response.results(0).status() : WireStatusOf(status);
  };
}

Send RejectedClaim(std::function<void(v1::ClaimOutputsRequest*)> change) {
  return RejectedRpc<v1::ClaimOutputsRequest, v1::ClaimOutputsResponse>(
      &Stub::ClaimOutputs, [change](v1::ClaimOutputsRequest* request) {
        request->add_call_ids(NewCallId());
        request->set_claim_token(NewClaimToken());
        change(request);
      });
}

// A header that `change` may spoil, and then one segment.
Send RejectedUpload(std::function<void(v1::UploadHeader*, v1::UploadSegment*)> change) {
  return [change](ServedStore* served) {
    v1::UploadRequest header, segment;
    header.mutable_header()->set_upload_id(NewClaimToken());
    v1::InputItem* const item = header.mutable_header()->mutable_input();
    item->set_call_id(served->harness.NewId().ToString());
    item->mutable_payload();
    segment.mutable_segment()->set_data("x");
    change(header.mutable_header(), segment.mutable_segment());
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    v1::UploadResponse response;
    const auto stream = served->client->stub()->Upload(&context, &response);
    if (stream->Write(header)) stream->Write(segment);
    stream->WritesDone();
    return WireStatusOf(stream->Finish());
  };
}

google::rpc::Status DownloadPastTheEnd(ServedStore* served) {
  v1::DownloadRequest request;
  request.set_call_id(served->NewInput().ToString());  // of 2 bytes
  request.set_kind(v1::PAYLOAD_KIND_INPUT);
  request.set_offset_bytes(3);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  const auto stream = served->worker->stub()->Download(&context, request);
  v1::DownloadResponse response;
  while (stream->Read(&response)) {
  }
  return WireStatusOf(stream->Finish());
}

Send RejectedSubscription(std::function<void(v1::SubscriptionRequest*)> change) {
  return [change](ServedStore* served) {
    v1::SubscriptionRequest request = SubscriptionCall::Opening();
    change(&request);
    SubscriptionCall call(served->client.get());
    call.Write(request);
    return call.NextEnd();
  };
}

struct RangeCase {
  std::string field, value, limit, unit;
  Send send;
};

const std::vector<RangeCase>& PutCases() {
  static const auto* const cases = new std::vector<RangeCase>{
      {"items", "0", "1", "items",
       RejectedRpc<v1::PutInputsRequest, v1::PutInputsResponse>(&Stub::PutInputs, [](auto*) {})},
      {"items", "513", "512", "items",
       RejectedRpc<v1::PutInputsRequest, v1::PutInputsResponse>(&Stub::PutInputs,
                                                                [](auto* request) {
                                                                  for (int i = 0; i < kTooManyItems;
                                                                       ++i)
                                                                    request->add_items();
                                                                })},
      {"items[0].ttl", "999", "1000", "ms",
       RejectedPut([](auto* item) { *item->mutable_ttl() = DurationOf(0, 999'999'999); })},
      {"items[0].ttl", "-1", "1000", "ms",
       RejectedPut([](auto* item) { *item->mutable_ttl() = DurationOf(0, -1); })},
      {"items[0].ttl", "90000000", "86400000", "ms",
       RejectedPut([](auto* item) { *item->mutable_ttl() = DurationOf(25 * 3600); })},
      {"items[0].ttl", "86400001", "86400000", "ms",
       RejectedPut([](auto* item) { *item->mutable_ttl() = DurationOf(24 * 3600, 1); })},
      {"items[0].payload.data", std::to_string(kSegment + 2), std::to_string(kSegment + 1), "bytes",
       RejectedPut(
           [](auto* item) { item->mutable_payload()->set_data(std::string(kSegment + 2, 'x')); })},
      {"items[0].payload.content_type", "256", "255", "bytes", RejectedPut([](auto* item) {
         item->mutable_payload()->set_content_type(std::string(256, 'x'));
       })},
      {"items[0].payload.encryption_key_id", "256", "255", "bytes", RejectedPut([](auto* item) {
         item->mutable_payload()->set_encryption_key_id(std::string(256, 'x'));
       })},
      {"items[0].payload.labels", "17", "16", "labels", RejectedPut([](auto* item) {
         for (int i = 0; i < 17; ++i) {
           (*item->mutable_payload()->mutable_labels())[std::to_string(i)] = "v";
         }
       })},
      {"items[0].payload.labels", "0", "1", "bytes",
       RejectedPut([](auto* item) { (*item->mutable_payload()->mutable_labels())[""] = "v"; })},
      {"items[0].payload.labels", "64", "63", "bytes", RejectedPut([](auto* item) {
         (*item->mutable_payload()->mutable_labels())[std::string(64, 'n')] = "v";
       })},
      {"items[0].payload.labels", "1025", "1024", "bytes", RejectedPut([](auto* item) {
         (*item->mutable_payload()->mutable_labels())["n"] = std::string(1024, 'v');
       })},
  };
  return *cases;
}

const std::vector<RangeCase>& ClaimCases() {
  static const auto* const cases = new std::vector<RangeCase>{
      {"call_ids", "514", "512", "items", RejectedClaim([](auto* request) {
         for (int i = 0; i < kTooManyItems; ++i) request->add_call_ids("");
       })},
      {"acks", "513", "512", "items", RejectedClaim([](auto* request) {
         for (int i = 0; i < kTooManyItems; ++i) request->add_acks();
       })},
      {"max_count", "513", "512", "outputs",
       RejectedClaim([](auto* request) { request->set_max_count(513); })},
      {"max_bytes", "67108865", "67108864", "bytes",
       RejectedClaim([](auto* request) { request->set_max_bytes(67'108'865); })},
      {"wait", "60000", "55000", "ms",
       RejectedClaim([](auto* request) { *request->mutable_wait() = DurationOf(60); })},
      {"wait", "-1", "0", "ms",
       RejectedClaim([](auto* request) { *request->mutable_wait() = DurationOf(0, -1); })},
      {"lease", "0", "1000", "ms", RejectedClaim([](auto* request) { request->mutable_lease(); })},
      {"lease", "601000", "600000", "ms",
       RejectedClaim([](auto* request) { *request->mutable_lease() = DurationOf(601); })},
      {"claim_token", "15", "16", "bytes",
       RejectedClaim([](auto* request) { request->set_claim_token(std::string(15, 'x')); })},
      {"claim_token", "17", "16", "bytes",
       RejectedClaim([](auto* request) { request->set_claim_token(std::string(17, 'x')); })},
  };
  return *cases;
}

const std::vector<RangeCase>& StreamCases() {
  static const auto* const cases = new std::vector<RangeCase>{
      {"upload_id", "0", "16", "bytes",
       RejectedUpload([](auto* header, auto*) { header->clear_upload_id(); })},
      {"header.input.ttl", "0", "1000", "ms",
       RejectedUpload([](auto* header, auto*) { header->mutable_input()->mutable_ttl(); })},
      {"payload_bytes", "1048578", "1048577", "bytes",
       RejectedUpload([](auto* header, auto*) { header->set_size_bytes(kSegment + 2); })},
      {"segment.data", "0", "1", "bytes",
       RejectedUpload([](auto*, auto* segment) { segment->clear_data(); })},
      {"segment.data", "1048577", "1048576", "bytes", RejectedUpload([](auto*, auto* segment) {
         segment->set_data(std::string(kSegment + 1, 'x'));
       })},
      {"segment.offset_bytes", "1", "0", "bytes",
       RejectedUpload([](auto*, auto* segment) { segment->set_offset_bytes(1); })},
      {"offset_bytes", "3", "2", "bytes", DownloadPastTheEnd},
      {"subscribe_call_ids", "4", "3", "calls", RejectedSubscription([](auto* request) {
         for (int i = 0; i < 4; ++i) request->add_subscribe_call_ids(NewCallId());
       })},
      {"open.max_bytes", "67108865", "67108864", "bytes", RejectedSubscription([](auto* request) {
         request->mutable_open()->set_max_bytes(67'108'865);
       })},
      {"open.lease", "0", "1000", "ms",
       RejectedSubscription([](auto* request) { request->mutable_open()->mutable_lease(); })},
  };
  return *cases;
}

class RangeErrorTest : public ::testing::Test {
 protected:
  RangeErrorTest() {
    served_.harness.config.limits.payload_bytes_max = kSegment + 1;
    served_.harness.config.limits.stream_subscriptions_max = 3;
    served_.Start();
  }

  void ExpectBounds(const std::vector<RangeCase>& cases) {
    for (const RangeCase& range : cases) {
      const google::rpc::Status status = range.send(&served_);
      EXPECT_THAT(MetadataOf(status),
                  ElementsAre(Pair("field", range.field), Pair("limit", range.limit),
                              Pair("unit", range.unit), Pair("value", range.value)))
          << range.field << ": " << Summary(status) << " " << status.message();
    }
  }

  ServedStore served_;
};

TEST_F(RangeErrorTest, OfAPutHasValueLimitAndUnit) { ExpectBounds(PutCases()); }

TEST_F(RangeErrorTest, OfAClaimHasValueLimitAndUnit) { ExpectBounds(ClaimCases()); }

TEST_F(RangeErrorTest, OfAStreamHasValueLimitAndUnit) { ExpectBounds(StreamCases()); }

}  // namespace
}  // namespace mayfly
