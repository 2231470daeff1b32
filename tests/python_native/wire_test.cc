// What the module writes and reads by hand, against the messages that protoc generates.
#include "python_native/wire.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mayfly/v1/function_io.pb.h"

namespace mayfly::python {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Taken {
  uint64_t number;
  int code;
  std::string status;
  std::string response;
};

bool Read(const std::string& frame, std::vector<Taken>* taken) {
  return ReadAnswers(frame, [&](const NumberedAnswer& answer) {
    taken->push_back(
        {answer.number, answer.code, std::string(answer.status), std::string(answer.response)});
  });
}

TEST(Wire, WritesRequestsAsProtobufReadsThem) {
  v1::DescribeCallsRequest describe;
  describe.add_call_ids(std::string(300, 'a'));
  v1::ClaimOutputsRequest claim;
  claim.set_claim_token("token");
  std::string frame;
  AppendRequest(1, v1::NumberedRequest::kDescribeCallsFieldNumber, describe.SerializeAsString(),
                &frame);
  AppendRequest(uint64_t{1} << 40, kClaimOutputs, claim.SerializeAsString(), &frame);
  AppendRequest(3, kReleaseOutputs, "", &frame);

  v1::SessionRequest read;
  ASSERT_TRUE(read.ParseFromString(frame));
  ASSERT_EQ(read.requests_size(), 3);
  EXPECT_EQ(read.requests(0).number(), 1u);
  EXPECT_EQ(read.requests(0).describe_calls().call_ids(0), std::string(300, 'a'));
  EXPECT_EQ(read.requests(1).number(), uint64_t{1} << 40);
  EXPECT_EQ(read.requests(1).claim_outputs().claim_token(), "token");
  EXPECT_TRUE(read.requests(2).has_release_outputs());
}

TEST(Wire, ReadsResponsesAsProtobufWritesThem) {
  v1::SessionResponse frame;
  v1::NumberedResponse* const good = frame.add_responses();
  good->set_number(7);
  good->mutable_put_inputs()->add_results()->set_call_id("id");
  v1::NumberedResponse* const bad = frame.add_responses();
  bad->set_number(uint64_t{1} << 50);
  bad->mutable_status()->set_code(7);
  bad->mutable_status()->set_message("not yours");
  frame.add_responses()->mutable_delete_calls();

  std::vector<Taken> taken;
  ASSERT_TRUE(Read(frame.SerializeAsString(), &taken));
  ASSERT_EQ(taken.size(), 3u);
  EXPECT_EQ(taken[0].number, 7u);
  EXPECT_EQ(taken[0].code, 0);
  EXPECT_EQ(taken[0].response, good->put_inputs().SerializeAsString());
  EXPECT_EQ(taken[1].number, uint64_t{1} << 50);
  EXPECT_EQ(taken[1].code, 7);
  EXPECT_EQ(taken[1].status, bad->status().SerializeAsString());
  EXPECT_EQ(taken[2].response, "");
}

TEST(Wire, RefusesWhatIsCutShort) {
  v1::SessionResponse frame;
  for (uint64_t number : {1, 300}) {
    v1::NumberedResponse* const response = frame.add_responses();
    response->set_number(number);
    response->mutable_put_inputs()->add_results()->set_call_id("id");
  }
  const std::string whole = frame.SerializeAsString();
  const size_t first = 2 + frame.responses(0).ByteSizeLong();
  for (size_t size = 1; size < whole.size(); ++size) {
    std::vector<Taken> taken;
    EXPECT_EQ(Read(whole.substr(0, size), &taken), size == first) << size;
  }
}

TEST(Wire, RefusesLengthsAndNumbersWithoutEnd) {
  std::vector<Taken> taken;
  EXPECT_FALSE(Read(std::string("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 11), &taken));
  EXPECT_FALSE(Read(std::string(64, '\xff'), &taken));
  EXPECT_FALSE(Read("\x0b", &taken));  // a group
  EXPECT_THAT(taken, IsEmpty());
}

TEST(Wire, ReleasesWhatWasClaimed) {
  v1::ClaimOutputsRequest request;
  request.set_claim_token("sixteen of bytes");
  request.add_call_ids("first");
  v1::ClaimOutputsResponse response;
  for (const auto& [call_id, fence] : {std::pair("first", uint64_t{1} << 60), {"second", 2}}) {
    v1::ClaimedOutput* const output = response.add_outputs();
    output->set_call_id(call_id);
    output->set_fence(fence);
    output->mutable_payload()->set_data("data");
  }
  response.add_ended()->set_call_id("third");

  v1::ReleaseOutputsRequest release;
  ASSERT_TRUE(release.ParseFromString(
      ReleaseOf(request.SerializeAsString(), response.SerializeAsString())));
  std::vector<std::string> call_ids;
  std::vector<uint64_t> fences;
  for (const v1::ReleaseItem& item : release.items()) {
    call_ids.push_back(item.call_id());
    fences.push_back(item.fence());
    EXPECT_EQ(item.claim_token(), "sixteen of bytes");
  }
  EXPECT_THAT(call_ids, ElementsAre("first", "second"));
  EXPECT_THAT(fences, ElementsAre(uint64_t{1} << 60, 2u));
}

TEST(Wire, ReleasesNothingWhereNothingWasClaimed) {
  v1::ClaimOutputsResponse response;
  response.set_pending_count(1);
  EXPECT_EQ(ReleaseOf("", response.SerializeAsString()), "");
}

}  // namespace
}  // namespace mayfly::python
