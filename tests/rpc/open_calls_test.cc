#include "rpc/open_calls.h"

#include <memory>
#include <string>

#include <gtest/gtest.h>

namespace mayfly {
namespace {

// What is counted, without a server: the calls are never cancelled, since nothing ticks.
class OpenCallsTest : public ::testing::Test {
 protected:
  static Config::Limits Limits() {
    Config::Limits limits;
    limits.unsent_bytes_max = 100;
    limits.tenant_unsent_bytes_max = 70;
    limits.connection_unsent_bytes_max = 40;
    return limits;
  }
  static grpc_call* SomeCall() { return reinterpret_cast<grpc_call*>(uintptr_t{1}); }
  static LeavingPayload Bytes(uint64_t bytes, uint64_t generation = 1) {
    return {.generation = generation, .held_bytes = bytes, .until_ms = 1};
  }
  using Kind = OpenCall::Kind;
  std::unique_ptr<OpenCall> Open(const std::string& connection, const Tenant& tenant,
                                 Kind kind = Kind::kReply) {
    auto call = std::make_unique<OpenCall>(&calls_, kind);
    call->Open(SomeCall(), {.certificate = connection, .intermediates = ""}, &tenant);
    return call;
  }

  const Config::Limits limits_ = Limits();
  OpenCalls calls_{limits_};
  Tenant tenant_;
  Tenant other_;
  // A connection is told by where its certificate is.
  const std::string first_ = "certificate";
  const std::string second_ = "certificate";
  const std::string third_ = "certificate";
};

TEST_F(OpenCallsTest, AConnectionHasItsBound) {
  const auto one = Open(first_, tenant_);
  const auto two = Open(first_, tenant_);
  EXPECT_TRUE(one->Take(Bytes(30)));
  EXPECT_FALSE(two->Take(Bytes(11)));
  EXPECT_TRUE(two->Take(Bytes(10)));
  one->Close();
  EXPECT_TRUE(two->Take(Bytes(30, 2)));
  EXPECT_FALSE(two->Take(Bytes(1, 3)));
  two->Return(2);
  EXPECT_TRUE(two->Take(Bytes(30, 3)));
}

TEST_F(OpenCallsTest, ATenantHasItsBoundOverAllConnections) {
  const auto one = Open(first_, tenant_);
  const auto two = Open(second_, tenant_);
  const auto stranger = Open(third_, other_);
  EXPECT_TRUE(one->Take(Bytes(40)));
  EXPECT_FALSE(two->Take(Bytes(31)));
  EXPECT_TRUE(two->Take(Bytes(30)));
  EXPECT_TRUE(stranger->Take(Bytes(30)));
}

TEST_F(OpenCallsTest, AllTogetherHaveTheirs) {
  const auto one = Open(first_, tenant_);
  const auto two = Open(second_, tenant_);
  const auto stranger = Open(third_, other_);
  EXPECT_TRUE(one->Take(Bytes(35)));
  EXPECT_TRUE(two->Take(Bytes(35)));
  EXPECT_FALSE(stranger->Take(Bytes(31)));
  EXPECT_TRUE(stranger->Take(Bytes(30)));
}

TEST_F(OpenCallsTest, ACallTakesNothingBeforeItIsOpenAndAfterItIsOver) {
  OpenCall unopened(&calls_, Kind::kReply);
  EXPECT_FALSE(unopened.Take(Bytes(1)));
  const auto call = Open(first_, tenant_);
  EXPECT_TRUE(call->Take(Bytes(40)));
  call->Close();
  EXPECT_FALSE(call->Take(Bytes(1)));
}

TEST_F(OpenCallsTest, AWriteThatEndsTellsWhetherItsPayloadHas) {
  const auto call = Open(first_, tenant_, Kind::kDownload);
  ASSERT_TRUE(call->Take(Bytes(10, /*generation=*/7)));
  call->BeginWrite();
  calls_.OnPayloadsEnded({8});
  EXPECT_TRUE(call->EndWrite());
  call->BeginWrite();
  calls_.OnPayloadsEnded({7});
  EXPECT_FALSE(call->EndWrite());
}

TEST_F(OpenCallsTest, WhatEndsBeforeItsReplyIsWrittenIsNotWritten) {
  const auto ended = Open(first_, tenant_);
  ASSERT_TRUE(ended->Take(Bytes(10, /*generation=*/7)));
  ASSERT_TRUE(ended->Take(Bytes(10, /*generation=*/8)));
  calls_.OnPayloadsEnded({8});
  EXPECT_FALSE(ended->BeginWrite());

  // What could not be read is no part of the reply.
  const auto returned = Open(second_, tenant_);
  ASSERT_TRUE(returned->Take(Bytes(10, /*generation=*/7)));
  ASSERT_TRUE(returned->Take(Bytes(10, /*generation=*/8)));
  calls_.OnPayloadsEnded({8});
  returned->Return(8);
  EXPECT_TRUE(returned->BeginWrite());
}

TEST_F(OpenCallsTest, AnAcknowledgedMessageDoesNotKeepAStreamFromItsNext) {
  const auto stream = Open(first_, tenant_, Kind::kStream);
  ASSERT_TRUE(stream->Take(Bytes(10, /*generation=*/7)));
  calls_.OnPayloadsEnded({7});
  EXPECT_TRUE(stream->BeginWrite());
}

TEST_F(OpenCallsTest, AnEndThatIsExpectedIsNone) {
  const auto call = Open(first_, tenant_);
  ASSERT_TRUE(call->Take(Bytes(10, /*generation=*/7)));
  call->ExpectEnd(7);
  EXPECT_TRUE(call->BeginWrite());
  calls_.OnPayloadsEnded({7});
  EXPECT_TRUE(call->EndWrite());
  // It is held all the same.
  EXPECT_FALSE(call->Take(Bytes(31, 8)));
}

}  // namespace
}  // namespace mayfly
