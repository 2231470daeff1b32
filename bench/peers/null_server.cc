// null_server: serves the contract with transport only, to separate the cost of gRPC, TLS and
// messages from that of Mayfly.
//
//   null_server --certificates DIR --port-file FILE
//
// It answers the five RPCs of a call's life, by themselves or on a Session, and those that stream
// a payload, from maps in memory: no validation, no encryption, no rules, no disk. gRPC and TLS are
// set up as mayflyd does it. Serves on a free port of 127.0.0.1 until SIGTERM.

#include <csignal>
#include <cstdio>
#include <string>

#include "absl/synchronization/mutex.h"
#include <CLI/CLI.hpp>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/support/server_callback.h>

#include "config/config.h"
#include "mayfly/v1/function_io.grpc.pb.h"
#include "null_calls.h"
#include "null_session.h"
#include "null_transfers.h"
#include "rpc/tls.h"
#include "workload.h"

namespace mayfly::peers {
namespace {

class NullService final : public v1::FunctionIo::CallbackService {
 public:
  grpc::ServerUnaryReactor* PutInputs(grpc::CallbackServerContext* context,
                                      const v1::PutInputsRequest* request,
                                      v1::PutInputsResponse* response) override {
    calls_.Answer(*request, response);
    return Finish(context);
  }

  grpc::ServerUnaryReactor* GetInputs(grpc::CallbackServerContext* context,
                                      const v1::GetInputsRequest* request,
                                      v1::GetInputsResponse* response) override {
    calls_.Answer(*request, response);
    return Finish(context);
  }

  grpc::ServerUnaryReactor* PutOutputs(grpc::CallbackServerContext* context,
                                       const v1::PutOutputsRequest* request,
                                       v1::PutOutputsResponse* response) override {
    calls_.Answer(*request, response);
    return Finish(context);
  }

  grpc::ServerUnaryReactor* ClaimOutputs(grpc::CallbackServerContext* context,
                                         const v1::ClaimOutputsRequest* request,
                                         v1::ClaimOutputsResponse* response) override {
    calls_.Answer(*request, response);
    return Finish(context);
  }

  grpc::ServerUnaryReactor* AckOutputs(grpc::CallbackServerContext* context,
                                       const v1::AckOutputsRequest* request,
                                       v1::AckOutputsResponse* response) override {
    calls_.Answer(*request, response);
    return Finish(context);
  }

  grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>* Session(
      grpc::CallbackServerContext*) override {
    return NewNullSession(&calls_);
  }

  grpc::ServerReadReactor<v1::UploadRequest>* Upload(grpc::CallbackServerContext*,
                                                     v1::UploadResponse* response) override {
    return transfers_.Upload(response);
  }

  grpc::ServerWriteReactor<v1::DownloadResponse>* Download(
      grpc::CallbackServerContext*, const v1::DownloadRequest* request) override {
    return transfers_.Download(*request);
  }

  grpc::ServerUnaryReactor* DeleteCalls(grpc::CallbackServerContext* context,
                                        const v1::DeleteCallsRequest* request,
                                        v1::DeleteCallsResponse* response) override {
    for (const std::string& call_id : request->call_ids()) {
      transfers_.Erase(call_id);
      response->add_results()->set_call_id(call_id);
    }
    return Finish(context);
  }

 private:
  static grpc::ServerUnaryReactor* Finish(grpc::CallbackServerContext* context) {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  NullCalls calls_;
  TransferMap transfers_;
};

void Serve(const std::string& certificates, const std::string& port_file) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  if (absl::Status status = ConfigureTls(); !status.ok()) Die(status.message());
  Config::Tls tls;
  tls.ca_file = certificates + "/ca.pem";
  tls.certificate_file = certificates + "/server.pem";
  tls.key_file = certificates + "/server.key";
  const auto files = TlsFiles::Open(tls);
  if (!files.ok()) Die(files.status().message());

  NullService service;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(-1);
  builder.SetMaxSendMessageSize(-1);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 0);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CENSUS, 0);
  builder.AddListeningPort("127.0.0.1:0", MakeServerCredentials(**files), &port);
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  if (server == nullptr || port == 0) Die("cannot listen on 127.0.0.1");

  std::FILE* const file = std::fopen(port_file.c_str(), "w");
  if (file == nullptr) Die("cannot write the port file");
  std::fprintf(file, "%d\n", port);
  std::fclose(file);

  int signal = 0;
  sigwait(&signals, &signal);
  server->Shutdown(std::chrono::system_clock::now());
}

}  // namespace
}  // namespace mayfly::peers

int main(int argc, char** argv) {
  std::string certificates;
  std::string port_file;
  CLI::App app("A server of Mayfly's contract that stores nothing.", "null_server");
  app.add_option("--certificates", certificates, "Made by deploy/make-certificates")
      ->required()
      ->type_name("DIR");
  app.add_option("--port-file", port_file, "Where to write the port")
      ->required()
      ->type_name("FILE");
  CLI11_PARSE(app, argc, argv);
  mayfly::peers::Serve(certificates, port_file);
  return 0;
}
