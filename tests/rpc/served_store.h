// A ServedStore is a real server on loopback over a store that a test holds by the hooks and the
// clock, all in the test's own process: so that sanitizers see both sides.
#pragma once

#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/time/time.h"

#include "e2e/test_client.h"
#include "rpc/recording_log.h"
#include "rpc/server.h"
#include "store/gate.h"
#include "store/store_harness.h"
#include "support/test_server.h"

namespace mayfly {

// What does not come by then does not come.
constexpr absl::Duration kPatience = absl::Seconds(60);

class ServedStore {
 public:
  // The tenant of the certificates "client" and "worker".
  static constexpr char kTenant[] = "default";

  ServedStore() {
    harness.config.server.listen = "127.0.0.1:0";
    harness.config.tls.ca_file = Files().certificates() + "/ca.pem";
    harness.config.tls.certificate_file = Files().certificates() + "/server.pem";
    harness.config.tls.key_file = Files().certificates() + "/server.key";
  }
  ~ServedStore() {
    Shutdown();
    harness.Close();
  }

  void Start() {
    harness.Open();
    auto started = Server::Start(harness.config, &log_, &harness.clock);
    Check(started.ok(), started.status().ToString().c_str());
    server = *std::move(started);
    server->Serve(harness.store());
    client = std::make_unique<TestClient>(Channel("client"));
    worker = std::make_unique<TestClient>(Channel("worker"));
  }
  // All RPCs are over when it returns.
  void Shutdown() {
    if (server != nullptr) server->Shutdown(absl::Seconds(5));
  }

  std::shared_ptr<grpc::Channel> Channel(const std::string& certificate) const {
    return Files().ChannelTo(server->port(), certificate);
  }
  Tenant* tenant() { return harness.tenant(kTenant); }

  CallId NewInput() {
    const CallId id = harness.NewId();
    Check(harness.PutInput(id, "in", absl::Hours(1), tenant()).status.ok(), "an input is put");
    return id;
  }
  CallId NewOutput(const std::string& data = "out") {
    const CallId id = NewInput();
    PutOutput(id, data);
    return id;
  }
  void PutOutput(const CallId& id, const std::string& data = "out") {
    Check(harness.PutOutput(id, data, 1, absl::Hours(1), tenant()).status.ok(), "an output is put");
  }

  // Whether the server knows that an RPC of that name, or a session's request, is over.
  bool HasEnded(const std::string& rpc) {
    for (const std::string& line : log_.lines()) {
      if (absl::StrContains(line, "rpc rpc=" + rpc + " ")) return true;
    }
    return false;
  }

  StoreHarness harness;
  std::unique_ptr<Server> server;
  std::unique_ptr<TestClient> client;
  std::unique_ptr<TestClient> worker;

 private:
  // Only for its certificates, which take a second to make.
  static const TestServer& Files() {
    static const TestServer files;
    return files;
  }

  RecordingLog log_;
};

}  // namespace mayfly
