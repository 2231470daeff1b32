// What the tests of the program beside a real server start from: a server for all tests of a suite, a
// proxy before it, and a directory.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <gtest/gtest.h>

#include "cli/program.h"
#include "cli/scratch.h"
#include "mayfly/client.h"
#include "support/sizes.h"
#include "support/tcp_proxy.h"
#include "support/test_server.h"

namespace mayfly {

class RealServerFixture : public testing::Test {
 protected:
  struct Finished {
    ProgramEnd end;
    std::string out;
    std::string err;
  };

  static void SetUpTestSuite() {
    server_ = new TestServer;
    server_->Start();
  }
  static void TearDownTestSuite() { delete std::exchange(server_, nullptr); }

  // mayfly with these arguments, as a client, through the proxy.
  ProgramPlan Plan(const std::vector<std::string>& arguments) const {
    ProgramPlan plan{.words = {MAYFLY_BINARY},
                     .variables = Variables(),
                     .out = scratch_.Path("stdout"),
                     .err = scratch_.Path("stderr")};
    plan.words.insert(plan.words.end(), arguments.begin(), arguments.end());
    return plan;
  }

  // A line of bash in the directory; `as_worker` runs mayfly with a worker's certificate.
  ProgramPlan ShellPlan(const std::string& line) const {
    const std::string worker = server_->certificates() + "/worker";
    return {.words = {"/bin/bash", "-c",
                      absl::StrCat("set -euo pipefail; cd ", scratch_.Path(""),
                                   "; as_worker() { MAYFLY_CERT=", worker,
                                   ".pem MAYFLY_KEY=", worker, ".key mayfly \"$@\"; }; ", line)},
            .variables = Variables(),
            .out = scratch_.Path("stdout"),
            .err = scratch_.Path("stderr")};
  }

  Finished Run(ProgramPlan plan) const {
    const ProgramEnd end = Program(std::move(plan)).Wait();
    return {.end = end, .out = scratch_.Read("stdout"), .err = scratch_.Read("stderr")};
  }
  Finished Mayfly(const std::vector<std::string>& arguments) const { return Run(Plan(arguments)); }
  Finished Shell(const std::string& line) const { return Run(ShellPlan(line)); }

  // A client of the library's, directly.
  static client::Client Connect(const std::string& certificate) {
    const std::string directory = server_->certificates() + "/";
    absl::StatusOr<client::Client> client =
        client::Client::Connect({.target = absl::StrCat("127.0.0.1:", server_->port()),
                                 .ca_file = directory + "ca.pem",
                                 .certificate_file = directory + certificate + ".pem",
                                 .key_file = directory + certificate + ".key"});
    EXPECT_TRUE(client.ok()) << client.status();
    return *std::move(client);
  }

  std::string NewCall() const {
    const auto put = client_.PutInput({.payload = {.data = "input"}});
    EXPECT_TRUE(put.ok()) << put.status();
    return put->call_id;
  }
  void PutOutput(const std::string& call_id, std::string data) const {
    const auto put = worker_.PutOutput({.call_id = call_id, .payload = {.data = std::move(data)}});
    EXPECT_TRUE(put.ok()) << put.status();
  }
  std::string NewReadyCall(std::string data) const {
    std::string call_id = NewCall();
    PutOutput(call_id, std::move(data));
    return call_id;
  }

  client::CallState StateOf(const std::string& call_id) const {
    const auto described = client_.DescribeCall(call_id);
    EXPECT_TRUE(described.ok()) << described.status();
    return described->state;
  }
  // A claim is given back when the server learns of it, which is soon and not at once. Waits for less
  // than the default lease, after which the claim would lapse anyway.
  bool BecomesReady(const std::string& call_id) const {
    const absl::Time end = absl::Now() + absl::Seconds(20);
    while (StateOf(call_id) != client::CallState::kReady) {
      if (absl::Now() > end) return false;
      absl::SleepFor(absl::Milliseconds(5));
    }
    return true;
  }

  static TestServer* server_;
  TcpProxy proxy_{server_->port()};
  const Scratch scratch_;
  const client::Client client_ = Connect("client");
  const client::Client worker_ = Connect("worker");

 private:
  std::vector<std::string> Variables() const {
    const std::string directory = server_->certificates() + "/";
    const std::string program = MAYFLY_BINARY;
    return {absl::StrCat("PATH=", program.substr(0, program.rfind('/')), ":/usr/bin:/bin"),
            "HOME=" + scratch_.Path(""),
            absl::StrCat("MAYFLY_SERVER=127.0.0.1:", proxy_.port()),
            "MAYFLY_CA=" + directory + "ca.pem",
            "MAYFLY_CERT=" + directory + "client.pem",
            "MAYFLY_KEY=" + directory + "client.key"};
  }
};

inline TestServer* RealServerFixture::server_ = nullptr;

// Any two pieces of it differ.
inline std::string Pattern(size_t size) {
  std::string data(size, '\0');
  uint64_t state = size;
  for (char& byte : data) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    byte = static_cast<char>(state >> 56);
  }
  return data;
}

}  // namespace mayfly
