#include "rpc/validation.h"

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace mayfly {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

constexpr char kCallId[] = "019470a8-1c00-7abc-8def-0123456789ab";
constexpr char kMintedId[] = "019470a8-1c01-7abc-8def-0123456789ab";
constexpr FieldPlace kPlace = {.list = "items", .index = 3};

Config TestConfig() {
  Config config;
  config.limits.payload_bytes_max = 1000;
  config.claims.lease_max = absl::Minutes(10);
  return config;
}

class Validation : public ::testing::Test {
 protected:
  absl::StatusOr<NewPut> Read(const v1::InputItem& item) {
    return ReadInputItem(item, kPlace, {.config = &config_, .retention = &retention_},
                         [] { return *CallId::Parse(kMintedId); });
  }
  absl::StatusOr<NewPut> Read(const v1::OutputItem& item) {
    return ReadOutputItem(item, kPlace, {.config = &config_, .retention = &retention_});
  }

  const Config config_ = TestConfig();
  const Config::TenantRetention retention_ = {.default_ttl = absl::Hours(2),
                                              .max_ttl = absl::Hours(24),
                                              .tombstone_ttl = absl::Minutes(15)};
};

v1::InputItem GoodInput() {
  v1::InputItem item;
  item.set_call_id(kCallId);
  item.mutable_payload()->set_data("question");
  return item;
}

template <typename Message>
struct Refusal {
  std::function<void(Message*)> change;
  Reason reason;
  std::string text;
};

TEST_F(Validation, TakesAnInputWithDefaults) {
  const v1::InputItem item = GoodInput();
  const auto input = Read(item);
  ASSERT_TRUE(input.ok()) << input.status();
  EXPECT_EQ(input->call_id.ToString(), kCallId);
  EXPECT_EQ(input->ttl_ms, 2 * 3600 * 1000);
  EXPECT_EQ(input->payload.data, "question");
  EXPECT_EQ(input->payload.data.data(), item.payload().data().data());  // no copy
  EXPECT_EQ(input->payload.metadata.outcome, Outcome::kNone);
}

// The check value of CRC-32C, of the digits 1 to 9.
TEST_F(Validation, ComputesAndVerifiesTheChecksum) {
  v1::InputItem item = GoodInput();
  item.mutable_payload()->set_data("123456789");
  item.mutable_payload()->set_crc32c(0xe3069283);
  const auto input = Read(item);
  ASSERT_TRUE(input.ok()) << input.status();
  EXPECT_EQ(input->payload.metadata.crc32c, 0xe3069283);
  item.mutable_payload()->clear_crc32c();
  EXPECT_EQ(Read(item)->payload.metadata.crc32c, 0xe3069283);
}

TEST_F(Validation, SortsLabels) {
  v1::InputItem item = GoodInput();
  for (const char* const name : {"c", "a", "b"}) {
    (*item.mutable_payload()->mutable_labels())[name] = "v";
  }
  EXPECT_THAT(Read(item)->payload.metadata.labels,
              ElementsAre(Pair("a", "v"), Pair("b", "v"), Pair("c", "v")));
}

TEST_F(Validation, MintsAnIdWhereThereIsNone) {
  v1::InputItem item = GoodInput();
  item.clear_call_id();
  const auto input = Read(item);
  ASSERT_TRUE(input.ok()) << input.status();
  EXPECT_EQ(input->call_id.ToString(), kMintedId);
}

TEST_F(Validation, TakesAnInputAtTheLimits) {
  v1::InputItem item = GoodInput();
  v1::Payload* payload = item.mutable_payload();
  payload->set_data(std::string(1000, 'x'));
  payload->set_content_type(std::string(255, 'x'));
  payload->set_encryption_key_id(std::string(255, 'x'));
  for (int i = 0; i < 16; ++i) {
    // 16 names of 63 bytes and one byte of value each: 1024 in all.
    (*payload
          ->mutable_labels())[absl::StrCat(std::string(61, 'n'), absl::Dec(i, absl::kZeroPad2))] =
        "v";
  }
  item.mutable_ttl()->set_seconds(24 * 3600);
  EXPECT_TRUE(Read(item).ok()) << Read(item).status();
  item.mutable_ttl()->set_seconds(1);
  EXPECT_TRUE(Read(item).ok()) << Read(item).status();
  payload->clear_data();
  EXPECT_TRUE(Read(item).ok()) << Read(item).status();
}

TEST_F(Validation, RefusesInputsByNamingTheField) {
  using Item = v1::InputItem;
  const std::vector<Refusal<Item>> refusals = {
      {[](Item* item) { item->set_call_id("019470a8"); }, Reason::kFieldInvalid,
       "items[3]: call_id has 8 characters, a UUID has 36"},
      {[](Item* item) { item->set_call_id("019470a8-1c00-4abc-8def-0123456789ab"); },
       Reason::kFieldInvalid, "items[3]: call_id has UUID version 4, must be 7"},
      {[](Item* item) { item->mutable_ttl()->set_seconds(25 * 3600); }, Reason::kFieldInvalid,
       "items[3].ttl is 25h, range is 1s to 24h"},
      {[](Item* item) { item->mutable_ttl()->set_nanos(999'999'999); }, Reason::kFieldInvalid,
       "items[3].ttl is 999.999999ms, range is 1s to 24h"},
      {[](Item* item) { item->mutable_ttl()->set_seconds(-1); }, Reason::kFieldInvalid,
       "items[3].ttl is -1s, range is 1s to 24h"},
      {[](Item* item) {
         item->mutable_ttl()->set_seconds(24 * 3600);
         item->mutable_ttl()->set_nanos(1);
       },
       Reason::kFieldInvalid, "items[3].ttl is 24h0.000000001s, range is 1s to 24h"},
      {[](Item* item) {
         item->mutable_ttl()->set_seconds(10);
         item->mutable_ttl()->set_nanos(-1);
       },
       Reason::kFieldInvalid,
       "items[3].ttl is not a valid google.protobuf.Duration, range is 1s to 24h"},
      {[](Item* item) { item->mutable_ttl()->set_seconds(INT64_MAX); }, Reason::kFieldInvalid,
       "items[3].ttl is not a valid google.protobuf.Duration, range is 1s to 24h"},
      {[](Item* item) { item->mutable_payload()->set_data(std::string(1001, 'x')); },
       Reason::kPayloadTooLarge, "items[3].payload.data is 1001, limit is 1000 bytes"},
      {[](Item* item) { item->mutable_payload()->set_crc32c(1); }, Reason::kChecksumMismatch,
       "items[3].payload.crc32c does not match the 8 bytes of payload.data"},
      {[](Item* item) { item->mutable_payload()->set_content_type(std::string(256, 'x')); },
       Reason::kFieldInvalid, "items[3].payload.content_type is 256 bytes, limit is 255"},
      {[](Item* item) { item->mutable_payload()->set_encryption_key_id(std::string(256, 'x')); },
       Reason::kFieldInvalid, "items[3].payload.encryption_key_id is 256 bytes, limit is 255"},
      {[](Item* item) { (*item->mutable_payload()->mutable_labels())[""] = "v"; },
       Reason::kFieldInvalid, "items[3].payload.labels: a name is 0 bytes, range is 1 to 63"},
      {[](Item* item) { (*item->mutable_payload()->mutable_labels())[std::string(64, 'n')] = ""; },
       Reason::kFieldInvalid, "items[3].payload.labels: a name is 64 bytes, range is 1 to 63"},
      {[](Item* item) {
         (*item->mutable_payload()->mutable_labels())["n"] = std::string(1024, 'v');
       },
       Reason::kFieldInvalid, "items[3].payload.labels is 1025 bytes, limit is 1024"},
      {[](Item* item) {
         for (int i = 0; i < 17; ++i) {
           (*item->mutable_payload()->mutable_labels())[absl::StrCat(i)] = "v";
         }
       },
       Reason::kFieldInvalid, "items[3].payload.labels is 17 labels, limit is 16"},
  };
  for (const auto& refusal : refusals) {
    v1::InputItem item = GoodInput();
    refusal.change(&item);
    const auto input = Read(item);
    EXPECT_EQ(input.status().code(), absl::StatusCode::kInvalidArgument) << refusal.text;
    EXPECT_EQ(ReasonOf(input.status()), refusal.reason) << refusal.text;
    EXPECT_EQ(std::string(input.status().message()), refusal.text);
  }
}

TEST_F(Validation, ReadsOutputs) {
  v1::OutputItem item;
  item.mutable_payload();
  EXPECT_FALSE(Read(item).ok());  // an output's id is never minted
  item.set_call_id(kCallId);
  item.clear_payload();
  EXPECT_EQ(Read(item).status().message(),
            "items[3].payload is missing, expected a Payload, without data for an empty payload");
  item.mutable_payload();
  auto output = Read(item);
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_EQ(output->attempt, 1u);
  EXPECT_EQ(output->payload.metadata.outcome, Outcome::kSuccess);
  item.set_attempt(4'294'967'295);
  item.set_outcome(v1::OUTCOME_CANCELLED);
  output = Read(item);
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_EQ(output->attempt, 4'294'967'295);
  EXPECT_EQ(output->payload.metadata.outcome, Outcome::kCancelled);
  item.set_outcome(static_cast<v1::Outcome>(5));
  EXPECT_EQ(std::string(Read(item).status().message()),
            "items[3].outcome is 5, expected an Outcome of the proto");
}

TEST_F(Validation, ReadsClaims) {
  v1::AckItem item;
  item.set_call_id(kCallId);
  item.set_claim_token("0123456789abcdef");
  item.set_fence(77);
  auto claim = ReadClaim(item, kPlace);
  ASSERT_TRUE(claim.ok()) << claim.status();
  EXPECT_EQ(claim->fence, 77u);
  EXPECT_EQ(claim->token[15], 'f');
  EXPECT_FALSE(claim->crc32c.has_value());
  item.set_crc32c(0);
  EXPECT_EQ(ReadClaim(item, kPlace)->crc32c, 0u);
  for (const char* const token : {"", "0123456789abcde", "0123456789abcdef0"}) {
    item.set_claim_token(token);
    EXPECT_EQ(std::string(ReadClaim(item, kPlace).status().message()),
              absl::StrCat("items[3].claim_token is ", strlen(token), " bytes, expected 16"));
  }
}

TEST_F(Validation, ReadsAClaimRequest) {
  v1::ClaimOutputsRequest request;
  request.set_claim_token("0123456789abcdef");
  auto claim = ReadClaimRequest(request, config_);
  ASSERT_TRUE(claim.ok()) << claim.status();
  EXPECT_EQ(claim->count_max, 512u);
  EXPECT_EQ(claim->bytes_max, 3u << 20);
  EXPECT_EQ(claim->wait_ms, 0);
  EXPECT_EQ(claim->lease_ms, 30'000);
  EXPECT_FALSE(claim->ack_before_answer);

  request.set_max_count(7);
  request.set_max_bytes(1);
  request.mutable_wait()->set_seconds(55);
  request.mutable_lease()->set_seconds(600);
  request.set_ack_mode(v1::ACK_MODE_AUTO);
  claim = ReadClaimRequest(request, config_);
  ASSERT_TRUE(claim.ok()) << claim.status();
  EXPECT_EQ(claim->count_max, 7u);
  EXPECT_EQ(claim->bytes_max, 1u);
  EXPECT_EQ(claim->wait_ms, 55'000);
  EXPECT_EQ(claim->lease_ms, 600'000);
  EXPECT_TRUE(claim->ack_before_answer);
}

TEST_F(Validation, RefusesClaimRequestsByNamingTheField) {
  using Request = v1::ClaimOutputsRequest;
  const std::vector<Refusal<Request>> refusals = {
      {[](Request* r) { r->set_max_count(513); }, {}, "max_count is 513, range is 1 to 512"},
      {[](Request* r) { r->set_max_bytes(67108865); },
       {},
       "max_bytes is 67108865, range is 1 to 67108864"},
      {[](Request* r) { r->mutable_wait()->set_seconds(56); },
       {},
       "wait is 56s, range is 0 to 55s"},
      {[](Request* r) { r->mutable_wait()->set_nanos(-1); }, {}, "wait is -1ns, range is 0 to 55s"},
      {[](Request* r) { r->mutable_lease(); }, {}, "lease is 0, range is 1s to 10m"},
      {[](Request* r) { r->mutable_lease()->set_seconds(601); },
       {},
       "lease is 10m1s, range is 1s to 10m"},
      {[](Request* r) { r->clear_claim_token(); }, {}, "claim_token is 0 bytes, expected 16"},
      {[](Request* r) { r->set_ack_mode(static_cast<v1::AckMode>(3)); },
       {},
       "ack_mode is 3, expected an AckMode of the proto"},
  };
  for (const auto& refusal : refusals) {
    v1::ClaimOutputsRequest request;
    request.set_claim_token("0123456789abcdef");
    refusal.change(&request);
    const auto claim = ReadClaimRequest(request, config_);
    EXPECT_EQ(claim.status().code(), absl::StatusCode::kInvalidArgument) << refusal.text;
    EXPECT_EQ(ReasonOf(claim.status()), Reason::kFieldInvalid) << refusal.text;
    EXPECT_EQ(std::string(claim.status().message()), refusal.text);
  }
}

// What is not data must fit too, or an answer could never be sent.
TEST_F(Validation, CutsMaxBytesToWhatAMessageHolds) {
  EXPECT_EQ(*ReadMaxBytes(64 << 20, config_), 63u << 20);
  EXPECT_EQ(*ReadMaxBytes(63 << 20, config_), 63u << 20);
  EXPECT_EQ(*ReadMaxBytes(0, config_), 3u << 20);
  Config small = config_;
  small.limits.message_bytes_max = 2 << 20;
  EXPECT_EQ(*ReadMaxBytes(0, small), 1u << 20);
}

}  // namespace
}  // namespace mayfly
