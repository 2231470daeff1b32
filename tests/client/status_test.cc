#include "client/status.h"

#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include "client/fake_function_io.h"
#include "mayfly/call.h"
#include "mayfly/error.h"
#include "mayfly/v1/error_reason.pb.h"

namespace mayfly::client {
namespace {

TEST(Status, EveryReasonOfTheContractKeepsItsNumberAndName) {
  const google::protobuf::EnumDescriptor* reasons = v1::ErrorReason_descriptor();
  for (int i = 1; i < reasons->value_count(); ++i) {
    const auto reason = static_cast<Reason>(reasons->value(i)->number());
    EXPECT_EQ("ERROR_REASON_" + std::string(ReasonName(reason)), reasons->value(i)->name());
    const absl::Status status =
        StatusFromProto(ItemError(absl::StatusCode::kAborted, reason, "text"));
    EXPECT_EQ(ReasonOf(status), reason);
    EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
    EXPECT_EQ(status.message(), "text");
  }
}

TEST(Status, AnItemsRetryDelayIsRead) {
  const absl::Status status =
      StatusFromProto(ItemError(absl::StatusCode::kResourceExhausted, Reason::kQuotaBytes,
                                "too many bytes", absl::Seconds(7)));
  EXPECT_EQ(RetryDelayOf(status), absl::Seconds(7));
  EXPECT_EQ(ReasonOf(status), Reason::kQuotaBytes);
}

TEST(Status, AnRpcsDetailsAreReadFromItsTrailer) {
  const absl::Status status = StatusFromGrpc(
      RpcError(absl::StatusCode::kPermissionDenied, Reason::kRoleRequired, "wants a client"));
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(ReasonOf(status), Reason::kRoleRequired);
}

TEST(Status, ReasonsOfOthersAndOfLaterVersionsArePassedOver) {
  google::rpc::Status other =
      ItemError(absl::StatusCode::kNotFound, Reason::kCallUnknown, "no such call");
  std::string bytes = other.SerializeAsString();
  bytes.replace(bytes.find("mayfly"), 6, "zebras");
  ASSERT_TRUE(other.ParseFromString(bytes));
  EXPECT_EQ(ReasonOf(StatusFromProto(other)), Reason::kUnspecified);

  google::rpc::Status later =
      ItemError(absl::StatusCode::kNotFound, Reason::kCallUnknown, "no such call");
  bytes = later.SerializeAsString();
  bytes.replace(bytes.find("CALL_UNKNOWN"), 12, "CALL_ON_MARS");
  ASSERT_TRUE(later.ParseFromString(bytes));
  EXPECT_EQ(StatusFromProto(later), absl::NotFoundError("no such call"));
}

TEST(Status, ATrailerThatIsNoStatusLeavesCodeAndText) {
  EXPECT_EQ(StatusFromGrpc(grpc::Status(grpc::StatusCode::UNAVAILABLE, "text", "\xff\xff\xff")),
            absl::UnavailableError("text"));
}

TEST(Status, OutcomesAndStatesHaveTheNamesOfTheContract) {
  EXPECT_EQ(ToString(Outcome::kCancelled), "CANCELLED");
  EXPECT_EQ(ToString(CallState::kConsumed), "CONSUMED");
}

}  // namespace
}  // namespace mayfly::client
