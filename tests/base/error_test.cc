#include "base/error.h"

#include <set>
#include <string>

#include "absl/strings/cord.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mayfly {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr int kReasonCount = static_cast<int>(Reason::kQuotaUploads) + 1;

TEST(Error, CarriesEveryReason) {
  for (int number = 0; number < kReasonCount; ++number) {
    const Reason reason = static_cast<Reason>(number);
    const absl::Status status = MakeError(absl::StatusCode::kNotFound, reason, "no such call");
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(status.message(), "no such call");
    EXPECT_EQ(ReasonOf(status), reason);
  }
}

TEST(Error, NamesEveryReasonOnce) {
  std::set<std::string> names;
  for (int number = 0; number < kReasonCount; ++number) {
    names.insert(std::string(ReasonName(static_cast<Reason>(number))));
  }
  EXPECT_EQ(names.size(), kReasonCount);
  EXPECT_EQ(ReasonName(Reason::kCallUnknown), "CALL_UNKNOWN");
  EXPECT_EQ(ReasonName(Reason::kClaimLost), "CLAIM_LOST");
  EXPECT_EQ(ReasonName(Reason::kFieldInvalid), "FIELD_INVALID");
  EXPECT_EQ(ReasonName(Reason::kStorageDown), "STORAGE_DOWN");
}

// As in the contract, wherever a status is printed.
TEST(Error, PrintsTheReasonsName) {
  EXPECT_EQ(MakeError(absl::StatusCode::kNotFound, Reason::kOutputConsumed, "gone").ToString(),
            "NOT_FOUND: gone [mayfly/reason='OUTPUT_CONSUMED']");
}

TEST(Error, HasNoReasonAndNoAdviceByDefault) {
  EXPECT_EQ(ReasonOf(absl::OkStatus()), Reason::kUnspecified);
  EXPECT_EQ(ReasonOf(absl::InternalError("x")), Reason::kUnspecified);
  EXPECT_EQ(RetryDelayOf(absl::InternalError("x")), absl::ZeroDuration());
}

TEST(Error, DoesNotBelieveAReasonThatIsNone) {
  absl::Status status = absl::InternalError("x");
  status.SetPayload("mayfly/reason", absl::Cord("NO_SUCH_REASON"));
  EXPECT_EQ(ReasonOf(status), Reason::kUnspecified);
}

TEST(Error, KeepsReasonAndTextBesideARetryDelay) {
  const absl::Status status = WithRetryDelay(
      MakeError(absl::StatusCode::kResourceExhausted, Reason::kQuotaRate, "too fast"),
      absl::Milliseconds(1500));
  EXPECT_EQ(ReasonOf(status), Reason::kQuotaRate);
  EXPECT_EQ(RetryDelayOf(status), absl::Milliseconds(1500));
  EXPECT_EQ(status.message(), "too fast");
}

TEST(Error, StatesFieldValueLimitAndUnit) {
  const absl::Status limit =
      LimitError(Reason::kPayloadTooLarge, "payload_bytes", 5242881, 4194304, "bytes");
  EXPECT_EQ(limit.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(limit), Reason::kPayloadTooLarge);
  EXPECT_EQ(limit.message(), "payload_bytes is 5242881, limit is 4194304 bytes");
  EXPECT_EQ(LimitError(Reason::kFieldInvalid, "attempt", 0, 1, "").message(),
            "attempt is 0, limit is 1");

  const absl::Status field = FieldError("ack_mode", "7", "must be 1 or 2");
  EXPECT_EQ(field.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(field), Reason::kFieldInvalid);
  EXPECT_EQ(field.message(), "ack_mode is 7, must be 1 or 2");
}

TEST(Error, HasFieldValueLimitAndUnitForPrograms) {
  EXPECT_THAT(
      MetadataOf(LimitError(Reason::kPayloadTooLarge, "payload_bytes", 5242881, 4194304, "bytes")),
      ElementsAre(Pair("field", "payload_bytes"), Pair("limit", "4194304"), Pair("unit", "bytes"),
                  Pair("value", "5242881")));
  EXPECT_THAT(MetadataOf(FieldError("ack_mode", "7", "must be 1 or 2")),
              ElementsAre(Pair("field", "ack_mode"), Pair("value", "7")));
  EXPECT_THAT(MetadataOf(MakeError(absl::StatusCode::kAborted, Reason::kStaleAttempt, "late")),
              IsEmpty());
}

TEST(Error, IsTheSameInAFieldButForItsNames) {
  const absl::Status inner =
      WithRetryDelay(FieldError("ttl", "25h", "range is 1s to 24h"), absl::Milliseconds(5));
  const absl::Status outer = InField("items[3]", inner);
  EXPECT_EQ(outer.message(), "items[3].ttl is 25h, range is 1s to 24h");
  EXPECT_EQ(outer.code(), inner.code());
  EXPECT_EQ(ReasonOf(outer), Reason::kFieldInvalid);
  EXPECT_EQ(RetryDelayOf(outer), absl::Milliseconds(5));
  EXPECT_THAT(MetadataOf(outer), ElementsAre(Pair("field", "items[3].ttl"), Pair("value", "25h")));
}

absl::Status ReturnIfError(const absl::Status& first, bool* reached) {
  RETURN_IF_ERROR(first);
  *reached = true;
  return absl::OkStatus();
}

TEST(Error, ReturnsAnErrorWithItsReasonAndGoesOnOtherwise) {
  bool reached = false;
  const absl::Status error = MakeError(absl::StatusCode::kAborted, Reason::kStaleAttempt, "late");
  EXPECT_EQ(ReasonOf(ReturnIfError(error, &reached)), Reason::kStaleAttempt);
  EXPECT_FALSE(reached);
  EXPECT_TRUE(ReturnIfError(absl::OkStatus(), &reached).ok());
  EXPECT_TRUE(reached);
}

}  // namespace
}  // namespace mayfly
