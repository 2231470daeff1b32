// Payloads that are streamed to the server.
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "client/client_fixture.h"
#include "client/payload_ends.h"
#include "client/upload_transfer.h"

namespace mayfly::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using When = Fault::When;

class UploadTest : public ClientFixture {
 protected:
  std::vector<uint64_t> StreamOffsets() {
    std::vector<uint64_t> offsets;
    for (const auto& header : server_.RequestsOf<v1::UploadHeader>()) {
      offsets.push_back(header.offset_bytes());
    }
    return offsets;
  }
};

TEST_F(UploadTest, OnePutTakesWhicheverWayItsPayloadNeeds) {
  for (const size_t bytes : {kMiB, kMiB + 1}) {
    const std::string data = Pattern(bytes);
    const absl::StatusOr<Stored> put = client_.PutInput({.payload = {.data = data}});
    ASSERT_TRUE(put.ok()) << put.status();
    EXPECT_TRUE(server_.InputOf(put->call_id) == data) << bytes;
  }
  EXPECT_EQ(server_.CountOf("PutInputs"), 1);
  EXPECT_EQ(server_.CountOf("Upload"), 1);
}

TEST_F(UploadTest, WhatBelongsToThePayloadGoesInTheHeader) {
  const std::string id = client_.PutInput({})->call_id;
  const absl::StatusOr<Stored> put = client_.PutOutput({.call_id = id,
                                                        .attempt = 3,
                                                        .outcome = Outcome::kTimeout,
                                                        .payload = {.data = Pattern(2 * kMiB),
                                                                    .content_type = "text/plain",
                                                                    .labels = {{"zone", "b"}},
                                                                    .encryption_key_id = "k1"},
                                                        .ttl = absl::Seconds(90)});
  ASSERT_TRUE(put.ok()) << put.status();
  EXPECT_EQ(put->call_id, id);
  EXPECT_EQ(put->deadline, absl::FromUnixSeconds(2'000'000'000));
  const v1::UploadHeader header = server_.RequestsOf<v1::UploadHeader>()[0];
  EXPECT_EQ(header.upload_id().size(), 16);
  EXPECT_EQ(header.size_bytes(), 2 * kMiB);
  EXPECT_EQ(header.output().attempt(), 3);
  EXPECT_EQ(header.output().outcome(), v1::OUTCOME_TIMEOUT);
  EXPECT_EQ(header.output().payload().content_type(), "text/plain");
  EXPECT_EQ(header.output().payload().labels().at("zone"), "b");
  EXPECT_EQ(header.output().payload().encryption_key_id(), "k1");
  EXPECT_EQ(header.output().ttl().seconds(), 90);
}

TEST_F(UploadTest, GoesOnWhereTheServerHasKept) {
  server_.FailNext("Upload", {.when = When::kBroken, .item = 1});
  server_.FailNext("QueryUpload", {});
  const std::string data = Pattern(3 * kMiB + 5);
  TestSource source(data);
  const absl::StatusOr<Stored> put = client_.UploadInput({}, &source);
  ASSERT_TRUE(put.ok()) << put.status();
  EXPECT_TRUE(server_.InputOf(put->call_id) == data);
  EXPECT_THAT(StreamOffsets(), ElementsAre(0, 2 * kMiB));
  EXPECT_EQ(server_.CountOf("QueryUpload"), 2);
  const auto headers = server_.RequestsOf<v1::UploadHeader>();
  EXPECT_EQ(headers[0].upload_id(), headers[1].upload_id());
  EXPECT_EQ(headers[0].input().call_id(), headers[1].input().call_id());
}

TEST_F(UploadTest, OneThatTheServerHasSweptBeginsAnew) {
  server_.FailNext("Upload", {.when = When::kForgotten, .item = 1});
  const std::string data = Pattern(3 * kMiB);
  const absl::StatusOr<Stored> put = client_.PutInput({.payload = {.data = data}});
  ASSERT_TRUE(put.ok()) << put.status();
  EXPECT_TRUE(server_.InputOf(put->call_id) == data);
  EXPECT_THAT(StreamOffsets(), ElementsAre(0, 0));
}

// As after kill -9: the first client does not try again.
TEST_F(UploadTest, AnotherProcessResumesTheSamePut) {
  const std::string id = client_.PutInput({})->call_id;
  const std::string data = Pattern(3 * kMiB + 5);
  ClientOptions once = QuickOptions();
  once.retry.attempts_max = 1;
  server_.FailNext("Upload", {.when = When::kBroken, .item = 1});
  const Output output{.call_id = id,
                      .payload = {.data = data, .labels = {{"a", "1"}, {"b", "2"}, {"c", "3"}}}};
  EXPECT_TRUE(absl::IsUnavailable(NewClient(once).PutOutput(output).status()));
  EXPECT_EQ(NewClient().PutOutput(output).status(), absl::OkStatus());
  EXPECT_THAT(StreamOffsets(), ElementsAre(0, 0, 2 * kMiB));
  EXPECT_TRUE(client_.AwaitOutput(id)->payload.data == data);
}

TEST_F(UploadTest, OtherDataThanAnotherProcessHasSentIsSentFromItsStart) {
  const std::string id = client_.PutInput({})->call_id;
  ClientOptions once = QuickOptions();
  once.retry.attempts_max = 1;
  server_.FailNext("Upload", {.when = When::kBroken, .item = 1});
  const std::string first(3 * kMiB + 5, 'x');
  EXPECT_FALSE(NewClient(once).PutOutput({.call_id = id, .payload = {.data = first}}).ok());
  const std::string data = Pattern(first.size());
  EXPECT_EQ(client_.PutOutput({.call_id = id, .payload = {.data = data}}).status(),
            absl::OkStatus());
  EXPECT_THAT(StreamOffsets(), ElementsAre(0, 0, 2 * kMiB, 0));
  EXPECT_TRUE(client_.AwaitOutput(id)->payload.data == data);
}

// Of unknown size, as from a pipe, and shorter than what the server has kept.
TEST_F(UploadTest, ShorterDataThanAnotherProcessHasSentIsAnotherUpload) {
  const std::string id = client_.PutInput({})->call_id;
  ClientOptions once = QuickOptions();
  once.retry.attempts_max = 1;
  server_.FailNext("Upload", {.when = When::kBroken, .item = 2});
  TestSource first(Pattern(4 * kMiB));
  EXPECT_FALSE(NewClient(once).UploadOutput({.call_id = id}, &first).ok());
  const std::string data = Pattern(2 * kMiB + 1);
  TestSource second(data);
  EXPECT_EQ(client_.UploadOutput({.call_id = id}, &second).status(), absl::OkStatus());
  EXPECT_TRUE(client_.AwaitOutput(id)->payload.data == data);
}

// The server has all of the other payload but not that this is its end.
TEST_F(UploadTest, LongerDataThanAnotherProcessHasSentIsNotAppendedToIt) {
  const std::string id = client_.PutInput({})->call_id;
  ClientOptions once = QuickOptions();
  once.retry.attempts_max = 1;
  server_.FailNext("Upload", {.when = When::kBroken, .item = 3});
  TestSource first(Pattern(3 * kMiB + kMiB / 2));
  EXPECT_FALSE(NewClient(once).UploadOutput({.call_id = id}, &first).ok());
  const std::string data = Pattern(5 * kMiB);
  TestSource second(data);
  EXPECT_EQ(client_.UploadOutput({.call_id = id}, &second).status(), absl::OkStatus());
  EXPECT_TRUE(client_.AwaitOutput(id)->payload.data == data);
}

TEST_F(UploadTest, OtherAttemptsAndOtherMetadataAreOtherUploads) {
  const std::string id = client_.PutInput({})->call_id;
  const std::string data = Pattern(2 * kMiB);
  std::set<std::string> ids;
  for (const Output& output :
       {Output{.call_id = id, .payload = {.data = data}},
        Output{.call_id = id, .payload = {.data = data}},
        Output{.call_id = id, .attempt = 2, .payload = {.data = data}},
        Output{.call_id = id, .attempt = 3, .payload = {.data = data, .labels = {{"a", "b"}}}}}) {
    EXPECT_EQ(client_.PutOutput(output).status(), absl::OkStatus());
  }
  for (const auto& header : server_.RequestsOf<v1::UploadHeader>()) ids.insert(header.upload_id());
  EXPECT_EQ(ids.size(), 3);
}

// The server knows the content again by what the second header says, and need not read it.
TEST_F(UploadTest, ALostAnswerIsAskedForWithSizeAndChecksum) {
  server_.FailNext("Upload", {.when = When::kAfter});
  const std::string data = Pattern(2 * kMiB + 1);
  const absl::StatusOr<Stored> put = client_.PutInput({.payload = {.data = data}});
  ASSERT_TRUE(put.ok()) << put.status();
  const auto headers = server_.RequestsOf<v1::UploadHeader>();
  ASSERT_EQ(headers.size(), 2);
  EXPECT_FALSE(headers[0].input().payload().has_crc32c());
  EXPECT_EQ(headers[1].input().payload().crc32c(), Crc32c(AsBytes(data)));
  EXPECT_EQ(headers[1].size_bytes(), data.size());
  EXPECT_EQ(headers[1].input().call_id(), put->call_id);
}

TEST_F(UploadTest, WhatTheServerRefusesIsNotRepeated) {
  const std::pair<absl::StatusCode, Reason> refusals[] = {
      {absl::StatusCode::kAborted, Reason::kUploadTakenOver},
      {absl::StatusCode::kInvalidArgument, Reason::kChecksumMismatch},
      {absl::StatusCode::kResourceExhausted, Reason::kQuotaBytes},
      {absl::StatusCode::kOutOfRange, Reason::kPayloadTooLarge},
  };
  int streams = 0;
  for (const auto& [code, reason] : refusals) {
    server_.FailNext("Upload",
                     {.when = When::kBroken, .status = RpcError(code, reason, "no"), .item = 1});
    const absl::Status status = client_.PutInput({.payload = {.data = Pattern(4 * kMiB)}}).status();
    EXPECT_EQ(status.code(), code);
    EXPECT_EQ(ReasonOf(status), reason);
    EXPECT_EQ(server_.CountOf("Upload"), ++streams);
  }
  EXPECT_EQ(server_.CountOf("QueryUpload"), 0);
}

TEST_F(UploadTest, AServerThatNeverKeepsAnythingIsGivenUp) {
  server_.FailAlways("Upload", {.when = When::kForgotten, .item = 0});
  ClientOptions options = QuickOptions();
  options.retry.attempts_max = 4;
  const absl::Status status =
      NewClient(options).PutInput({.payload = {.data = Pattern(2 * kMiB)}}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(server_.CountOf("Upload"), 4);
}

// Four streams bring a segment each: more failures than attempts, none without progress.
TEST_F(UploadTest, ProgressIsNoFailure) {
  for (int i = 0; i < 4; ++i) server_.FailNext("Upload", {.when = When::kBroken, .item = 0});
  ClientOptions options = QuickOptions();
  options.retry.attempts_max = 2;
  const std::string data = Pattern(4 * kMiB + 1);
  const absl::StatusOr<Stored> put = NewClient(options).PutInput({.payload = {.data = data}});
  ASSERT_TRUE(put.ok()) << put.status();
  EXPECT_TRUE(server_.InputOf(put->call_id) == data);
}

TEST_F(UploadTest, AnEndedCallTakesNoOutput) {
  const std::string id = client_.PutInput({})->call_id;
  ASSERT_TRUE(client_.DeleteCall(id).ok());
  const absl::Status status =
      client_.PutOutput({.call_id = id, .payload = {.data = Pattern(2 * kMiB)}}).status();
  EXPECT_EQ(ReasonOf(status), Reason::kCallDeleted);
}

TEST_F(UploadTest, ASourceNeedNotKnowItsSize) {
  for (const size_t bytes : {size_t{0}, size_t{1}, kMiB, 2 * kMiB + 3}) {
    TestSource source(Pattern(bytes));
    const absl::StatusOr<Stored> put = client_.UploadInput({}, &source);
    ASSERT_TRUE(put.ok()) << put.status();
    EXPECT_TRUE(server_.InputOf(put->call_id) == source.data()) << bytes;
  }
  EXPECT_FALSE(server_.RequestsOf<v1::UploadHeader>()[0].has_size_bytes());
}

TEST_F(UploadTest, AnErrorOfTheSourceIsTheResultAndNothingIsStored) {
  TestSource source(Pattern(3 * kMiB));
  source.error = absl::DataLossError("bad sector");
  source.error_from = 2 * kMiB;
  const std::string id = MintCallId();
  EXPECT_EQ(client_.UploadInput({.call_id = id}, &source).status(), source.error);
  EXPECT_EQ(server_.InputOf(id), std::nullopt);
  EXPECT_LE(server_.CountOf("Upload"), 1);  // none when the cancellation overtook the header
}

TEST_F(UploadTest, ASourceThatEndsElsewhereThanItSaidIsRefused) {
  for (const uint64_t said : {2 * kMiB - 1, 2 * kMiB + 1}) {
    TestSource source(Pattern(2 * kMiB));
    source.said_size = said;
    const std::string id = MintCallId();
    const absl::Status status = client_.UploadInput({.call_id = id}, &source).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange) << status;
    EXPECT_EQ(server_.InputOf(id), std::nullopt);
  }
}

// One that changes between two streams would store a mixture.
TEST_F(UploadTest, ASourceThatReadsOtherwiseTheSecondTimeIsRefused) {
  class Changing : public TestSource {
   public:
    using TestSource::TestSource;
    absl::StatusOr<size_t> ReadAt(uint64_t offset, char* buffer, size_t size) override {
      if (offset == 0 && !offsets.empty()) data()[7] ^= 1;
      return TestSource::ReadAt(offset, buffer, size);
    }
  };
  server_.FailNext("Upload", {.when = When::kForgotten, .item = 0});
  Changing source(Pattern(2 * kMiB));
  const std::string id = MintCallId();
  const absl::Status status = client_.UploadInput({.call_id = id}, &source).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_EQ(server_.InputOf(id), std::nullopt);
}

TEST_F(UploadTest, DataBesideASourceIsRefused) {
  TestSource source("a");
  EXPECT_EQ(client_.UploadInput({.payload = {.data = "b"}}, &source).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(source.offsets, IsEmpty());
}

TEST_F(UploadTest, ProgressIsToldPieceByPiece) {
  std::vector<std::pair<uint64_t, uint64_t>> told;
  const absl::StatusOr<Stored> put =
      client_.PutInput({.payload = {.data = Pattern(2 * kMiB + 9)}},
                       {.progress = [&](uint64_t done, std::optional<uint64_t> total) {
                         told.emplace_back(done, total.value_or(0));
                       }});
  ASSERT_TRUE(put.ok()) << put.status();
  const uint64_t total = 2 * kMiB + 9;
  EXPECT_THAT(told, ElementsAre(Pair(kMiB, total), Pair(2 * kMiB, total), Pair(total, total)));
}

TEST_F(UploadTest, ATimeoutOfItsOwnEndsItAndWithoutOneAStallDoes) {
  server_.FailAlways("Upload", {.when = When::kSilence});
  const Input input{.payload = {.data = Pattern(2 * kMiB)}};
  const absl::Status own = client_.PutInput(input, {.timeout = absl::Milliseconds(50)}).status();
  EXPECT_EQ(own, absl::DeadlineExceededError("no answer within 50ms"));

  ClientOptions options = QuickOptions();
  options.timeout = absl::Milliseconds(60);
  const absl::Status stalled = NewClient(options).PutInput(input).status();
  EXPECT_EQ(stalled, absl::DeadlineExceededError("no progress within 60ms"));
}

TEST_F(UploadTest, TwoAtATimeAndTheOthersAfterThem) {
  std::vector<Client::Future<Stored>> puts;
  std::vector<std::string> data;
  for (int i = 0; i < 6; ++i) {
    data.push_back(Pattern(kMiB + 1 + i, i));
    puts.push_back(client_.PutInputFuture({.payload = {.data = data.back()}}));
  }
  for (int i = 0; i < 6; ++i) {
    const absl::StatusOr<Stored> put = puts[i].get();
    ASSERT_TRUE(put.ok()) << put.status();
    EXPECT_TRUE(server_.InputOf(put->call_id) == data[i]);
  }
}

// Both threads are held up by uploads that nobody answers.
TEST_F(UploadTest, OneThatWaitsForAThreadHasItsTimeoutAndIsCancelled) {
  server_.FailNext("Upload", {.when = When::kSilence});
  server_.FailNext("Upload", {.when = When::kSilence});
  const Input large{.payload = {.data = Pattern(2 * kMiB)}};
  const Cancellation first;
  std::vector<Client::Future<Stored>> held;
  for (int i = 0; i < 2; ++i) {
    held.push_back(client_.PutInputFuture(large, {.cancellation = first}));
  }
  ASSERT_TRUE(server_.WaitFor("Upload", 2));

  auto late = client_.PutInputFuture(large, {.timeout = absl::Milliseconds(50)});
  EXPECT_EQ(late.get().status(), absl::DeadlineExceededError("no answer within 50ms"));
  const Cancellation second;
  auto cancelled = client_.PutInputFuture(large, {.cancellation = second});
  second.Cancel();
  EXPECT_EQ(cancelled.get().status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(server_.CountOf("Upload"), 2);

  auto last = client_.PutInputFuture(large);
  first.Cancel();
  for (auto& put : held) EXPECT_EQ(put.get().status().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(last.get().ok());
}

}  // namespace
}  // namespace mayfly::client
