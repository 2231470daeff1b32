// null_server: serves the contract with transport only, to separate the cost of gRPC, TLS and
// messages from that of Mayfly.
//
//   null_server --certificates DIR --port-file FILE
//
// It answers the five RPCs of a call's life, and those that stream a payload, from maps in memory: no
// validation, no encryption, no rules, no disk. gRPC and TLS are set up as mayflyd does it. Serves on
// a free port of 127.0.0.1 until SIGTERM.

#include <array>
#include <csignal>
#include <cstdio>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/hash/hash.h"
#include "absl/synchronization/mutex.h"
#include <CLI/CLI.hpp>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/support/server_callback.h>

#include "base/crc32c.h"
#include "base/mutex.h"
#include "config/config.h"
#include "mayfly/v1/function_io.grpc.pb.h"
#include "null_transfers.h"
#include "rpc/tls.h"
#include "workload.h"

namespace mayfly::peers {
namespace {

struct StoredPayload {
  std::string data;
  uint32_t crc32c = 0;
};

// Payloads by call id, in shards so that the threads of gRPC rarely meet. Thread-safe.
class PayloadMap {
 public:
  void Put(const std::string& call_id, const v1::Payload& payload) {
    StoredPayload stored = {.data = payload.data(), .crc32c = payload.crc32c()};
    Shard& shard = ShardOf(call_id);
    MutexLock lock(&shard.mutex);
    shard.payloads.insert_or_assign(call_id, std::move(stored));
  }

  // A copy, or false when there is none.
  bool Get(const std::string& call_id, v1::Payload* out) {
    Shard& shard = ShardOf(call_id);
    MutexLock lock(&shard.mutex);
    const auto found = shard.payloads.find(call_id);
    if (found == shard.payloads.end()) return false;
    out->set_data(found->second.data);
    out->set_crc32c(found->second.crc32c);
    return true;
  }

  void Erase(const std::string& call_id) {
    Shard& shard = ShardOf(call_id);
    MutexLock lock(&shard.mutex);
    shard.payloads.erase(call_id);
  }

 private:
  struct Shard {
    Mutex mutex;
    absl::flat_hash_map<std::string, StoredPayload> payloads GUARDED_BY(mutex);
  };

  Shard& ShardOf(const std::string& call_id) {
    return shards_[absl::Hash<std::string>()(call_id) % shards_.size()];
  }

  std::array<Shard, 64> shards_;
};

void SetNotFound(google::rpc::Status* status) { status->set_code(grpc::StatusCode::NOT_FOUND); }

class NullService final : public v1::FunctionIo::CallbackService {
 public:
  grpc::ServerUnaryReactor* PutInputs(grpc::CallbackServerContext* context,
                                      const v1::PutInputsRequest* request,
                                      v1::PutInputsResponse* response) override {
    PutAll(*request, &inputs_, response);
    return Finish(context);
  }

  grpc::ServerUnaryReactor* GetInputs(grpc::CallbackServerContext* context,
                                      const v1::GetInputsRequest* request,
                                      v1::GetInputsResponse* response) override {
    for (const std::string& call_id : request->call_ids()) {
      v1::GetInputResult* const result = response->add_results();
      result->set_call_id(call_id);
      if (!inputs_.Get(call_id, result->mutable_payload())) SetNotFound(result->mutable_status());
      result->set_size_bytes(result->payload().data().size());
    }
    return Finish(context);
  }

  grpc::ServerUnaryReactor* PutOutputs(grpc::CallbackServerContext* context,
                                       const v1::PutOutputsRequest* request,
                                       v1::PutOutputsResponse* response) override {
    PutAll(*request, &outputs_, response);
    return Finish(context);
  }

  // Nobody waits here: the driver claims what it has put.
  grpc::ServerUnaryReactor* ClaimOutputs(grpc::CallbackServerContext* context,
                                         const v1::ClaimOutputsRequest* request,
                                         v1::ClaimOutputsResponse* response) override {
    for (const v1::AckItem& item : request->acks()) End(item, response->add_ack_results());
    for (const std::string& call_id : request->call_ids()) {
      v1::ClaimedOutput* const output = response->add_outputs();
      output->set_call_id(call_id);
      output->set_attempt(1);
      output->set_outcome(v1::OUTCOME_SUCCESS);
      output->set_fence(1);
      if (outputs_.Get(call_id, output->mutable_payload())) {
        output->set_size_bytes(output->payload().data().size());
        continue;
      }
      response->mutable_outputs()->RemoveLast();
      response->set_pending_count(response->pending_count() + 1);
    }
    return Finish(context);
  }

  grpc::ServerUnaryReactor* AckOutputs(grpc::CallbackServerContext* context,
                                       const v1::AckOutputsRequest* request,
                                       v1::AckOutputsResponse* response) override {
    for (const v1::AckItem& item : request->items()) End(item, response->add_results());
    return Finish(context);
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
  template <typename Request, typename Response>
  static void PutAll(const Request& request, PayloadMap* payloads, Response* response) {
    for (const auto& item : request.items()) {
      payloads->Put(item.call_id(), item.payload());
      response->add_results()->set_call_id(item.call_id());
    }
  }

  void End(const v1::AckItem& item, v1::AckResult* result) {
    inputs_.Erase(item.call_id());
    outputs_.Erase(item.call_id());
    result->set_call_id(item.call_id());
  }

  static grpc::ServerUnaryReactor* Finish(grpc::CallbackServerContext* context) {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  PayloadMap inputs_;
  PayloadMap outputs_;
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
