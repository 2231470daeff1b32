#include "mayfly_channels.h"

#include <chrono>

#include "absl/strings/str_cat.h"
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include "workload.h"

namespace mayfly::peers {
namespace {

constexpr auto kConnectTimeout = std::chrono::seconds(10);

std::unique_ptr<Stub> ConnectAs(const std::string& address, const std::string& directory,
                                const std::string& role) {
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = ReadFileOrDie(directory + "/ca.pem");
  options.pem_cert_chain = ReadFileOrDie(absl::StrCat(directory, "/", role, ".pem"));
  options.pem_private_key = ReadFileOrDie(absl::StrCat(directory, "/", role, ".key"));
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // Statistics of every call, for nobody; mayflyd has none either.
  arguments.SetInt(GRPC_ARG_ENABLE_CHANNELZ, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_CENSUS, 0);
  // Otherwise all channels of a process that have the same target share one connection.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const auto channel = grpc::CreateCustomChannel(address, grpc::SslCredentials(options), arguments);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + kConnectTimeout)) {
    Die(absl::StrCat("cannot connect to ", address, " as ", role));
  }
  return v1::FunctionIo::NewStub(channel);
}

}  // namespace

std::vector<Stubs> Connect(const std::string& address, const std::string& certificate_directory,
                           uint32_t count) {
  std::vector<Stubs> stubs;
  for (uint32_t i = 0; i < count; ++i) {
    stubs.push_back({.client = ConnectAs(address, certificate_directory, "client"),
                     .worker = ConnectAs(address, certificate_directory, "worker")});
  }
  return stubs;
}

}  // namespace mayfly::peers
