#include "rpc/status.h"

#include <string>

#include <gmock/gmock.h>
#include <google/rpc/error_details.pb.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "mayfly/v1/error_reason.pb.h"
#include "rpc/recording_log.h"

namespace mayfly {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST(Status, OkIsAnEmptyStatus) {
  RecordingLog log;
  EXPECT_EQ(ToWireStatus(absl::OkStatus(), &log).ByteSizeLong(), 0u);
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus(), &log).ok());
  EXPECT_THAT(log.lines(), IsEmpty());
}

TEST(Status, CarriesCodeTextAndReason) {
  RecordingLog log;
  const google::rpc::Status wire = ToWireStatus(
      MakeError(absl::StatusCode::kAborted, Reason::kStaleAttempt, "attempt is 1"), &log);
  EXPECT_EQ(wire.code(), 10);  // google/rpc/code.proto
  EXPECT_EQ(wire.message(), "attempt is 1");
  ASSERT_EQ(wire.details_size(), 1);
  google::rpc::ErrorInfo info;
  ASSERT_TRUE(wire.details(0).UnpackTo(&info));
  EXPECT_EQ(info.domain(), "mayfly");
  EXPECT_EQ(info.reason(), "STALE_ATTEMPT");
  EXPECT_THAT(log.lines(), IsEmpty());
}

TEST(Status, CarriesTheRetryDelay) {
  RecordingLog log;
  const google::rpc::Status wire = ToWireStatus(
      WithRetryDelay(MakeError(absl::StatusCode::kResourceExhausted, Reason::kQuotaRate, "slow"),
                     absl::Milliseconds(2345)),
      &log);
  ASSERT_EQ(wire.details_size(), 2);
  google::rpc::RetryInfo retry;
  ASSERT_TRUE(wire.details(1).UnpackTo(&retry));
  EXPECT_EQ(retry.retry_delay().seconds(), 2);
  EXPECT_EQ(retry.retry_delay().nanos(), 345'000'000);
}

TEST(Status, CarriesTheFactsOfALimit) {
  RecordingLog log;
  const google::rpc::Status wire =
      ToWireStatus(LimitError(Reason::kPayloadTooLarge, "payload.data", 9, 8, "bytes"), &log);
  google::rpc::ErrorInfo info;
  ASSERT_TRUE(wire.details(0).UnpackTo(&info));
  EXPECT_EQ(info.metadata_size(), 4);
  EXPECT_EQ(info.metadata().at("field"), "payload.data");
  EXPECT_EQ(info.metadata().at("value"), "9");
  EXPECT_EQ(info.metadata().at("limit"), "8");
  EXPECT_EQ(info.metadata().at("unit"), "bytes");
}

TEST(Status, OfAnRpcHasTheSameInItsDetails) {
  RecordingLog log;
  const absl::Status error =
      MakeError(absl::StatusCode::kPermissionDenied, Reason::kRoleRequired, "role monitor");
  const grpc::Status status = ToGrpcStatus(error, &log);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(status.error_message(), "role monitor");
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(details.SerializeAsString(), ToWireStatus(error, &log).SerializeAsString());
}

TEST(Status, AnErrorWithoutAReasonStaysInside) {
  RecordingLog log;
  const absl::Status inner = absl::InternalError("IO error: /srv/data/000012.sst: bad block");
  const google::rpc::Status wire = ToWireStatus(inner, &log);
  EXPECT_EQ(wire.code(), static_cast<int>(absl::StatusCode::kUnavailable));
  EXPECT_THAT(wire.SerializeAsString(), Not(HasSubstr("/srv")));
  google::rpc::ErrorInfo info;
  ASSERT_TRUE(wire.details(0).UnpackTo(&info));
  EXPECT_EQ(info.reason(), "STORAGE_DOWN");
  EXPECT_THAT(log.lines(), ElementsAre(HasSubstr("/srv/data/000012.sst")));
  EXPECT_THAT(ToGrpcStatus(inner, &log).error_details(), Not(HasSubstr("/srv")));
}

TEST(Status, ReasonsAreThoseOfTheContract) {
  for (int number = 1; number < v1::ErrorReason_ARRAYSIZE; ++number) {
    ASSERT_TRUE(v1::ErrorReason_IsValid(number)) << number;
    const std::string name = v1::ErrorReason_Name(static_cast<v1::ErrorReason>(number));
    EXPECT_EQ("ERROR_REASON_" + std::string(ReasonName(static_cast<Reason>(number))), name);
  }
}

}  // namespace
}  // namespace mayfly
