// Requests that are not valid protobuf, for which gRPC alone would answer UNIMPLEMENTED.

#include <string>
#include <vector>

#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include "rpc/served_store.h"

namespace mayfly {
namespace {

// A field of 2^31 bytes that does not follow.
constexpr char kMalformed[] = "\x0a\xff\xff\xff\xff\x07";

std::vector<std::string> MethodsWithOneRequest() {
  const google::protobuf::ServiceDescriptor* const service =
      v1::PutInputsRequest::descriptor()->file()->FindServiceByName("FunctionIo");
  std::vector<std::string> names;
  for (int i = 0; i < service->method_count(); ++i) {
    if (!service->method(i)->client_streaming()) names.push_back(service->method(i)->name());
  }
  return names;
}

class MalformedRequest : public ::testing::TestWithParam<std::string> {
 protected:
  MalformedRequest() { served_.Start(); }

  // As a call of a request stream, so that servers of any kind of method answer it.
  grpc::Status Send(const std::string& bytes) {
    grpc::GenericStub stub(served_.Channel("client"));
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::CompletionQueue queue;
    grpc::Status status;
    const auto call = stub.PrepareCall(&context, "/mayfly.v1.FunctionIo/" + GetParam(), &queue);
    const auto wait = [&queue] {
      void* tag = nullptr;
      bool ok = false;
      queue.Next(&tag, &ok);
    };
    call->StartCall(nullptr);
    wait();
    call->WriteLast(request, grpc::WriteOptions(), nullptr);
    wait();
    call->Finish(&status, nullptr);
    wait();
    return status;
  }

  ServedStore served_;
};

TEST_P(MalformedRequest, IsAnInvalidArgument) {
  const grpc::Status status = Send(std::string(kMalformed, sizeof kMalformed - 1));
  EXPECT_EQ(Summary(status), "INVALID_ARGUMENT FIELD_INVALID");
  EXPECT_NE(status.error_message().find("not a valid " + GetParam() + "Request"), std::string::npos)
      << status.error_message();
}

INSTANTIATE_TEST_SUITE_P(EveryMethod, MalformedRequest,
                         ::testing::ValuesIn(MethodsWithOneRequest()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace mayfly
