// A client whose certificate is short-lived and replaced on disk, against a real server that checks
// it with every call.
#include <atomic>
#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <gtest/gtest.h>

#include "mayfly/client.h"
#include "support/test_server.h"

namespace mayfly::client {
namespace {

struct Renewals {
  absl::Duration lifetime;  // of a certificate
  absl::Duration interval;
  int count = 0;
};

class CertificateRenewalTest : public testing::Test {
 protected:
  CertificateRenewalTest() { server_.Start(); }

  std::string Path(const std::string& name) const { return server_.certificates() + "/" + name; }

  // In the place of the one before: first the key, and the certificate a while later.
  void Renew(const std::string& role, absl::Duration lifetime) const {
    const std::string next = role + "-next";
    server_.MakeCertificate(next, "URI:spiffe://mayfly.local/tenant/default/" + role,
                            absl::Now() - absl::Seconds(2), absl::Now() + lifetime);
    std::filesystem::rename(Path(next + ".key"), Path(role + "-short.key"));
    absl::SleepFor(absl::Milliseconds(100));
    std::filesystem::rename(Path(next + ".pem"), Path(role + "-short.pem"));
  }

  Client Connect(const std::string& role) const {
    const auto client = Client::Connect({.target = absl::StrCat("localhost:", server_.port()),
                                         .ca_file = Path("ca.pem"),
                                         .certificate_file = Path(role + "-short.pem"),
                                         .key_file = Path(role + "-short.key")});
    EXPECT_TRUE(client.ok()) << client.status();
    return *client;
  }

  // Small and large calls all the time, with not one that fails.
  void LiveThrough(const Renewals& renewals);

  TestServer server_;
};

void CertificateRenewalTest::LiveThrough(const Renewals& renewals) {
  for (const char* role : {"client", "worker"}) Renew(role, renewals.lifetime);
  const Client client = Connect("client");
  const Client worker = Connect("worker");
  std::atomic<bool> is_over = false;
  std::atomic<int> lives = 0;
  const std::string large(3 << 20, 'x');
  const auto live = [&](const std::string& payload) {
    const auto put = client.PutInput({.payload = {.data = payload}});
    ASSERT_TRUE(put.ok()) << put.status();
    const auto input = worker.GetInput(put->call_id);
    ASSERT_TRUE(input.ok()) << input.status();
    const auto output = worker.PutOutput({.call_id = put->call_id, .payload = input->payload});
    ASSERT_TRUE(output.ok()) << output.status();
    const auto erased =
        client.Retrieve(put->call_id, [](const ClaimedOutput&) { return absl::OkStatus(); },
                        {.wait = absl::Seconds(60)});
    ASSERT_TRUE(erased.ok()) << erased.status();
    ++lives;
  };
  std::thread small_caller([&] {
    while (!is_over && !HasFailure()) live("small");
  });
  std::thread large_caller([&] {
    while (!is_over && !HasFailure()) live(large);
  });
  for (int i = 0; i < renewals.count; ++i) {
    absl::SleepFor(renewals.interval);
    for (const char* role : {"client", "worker"}) Renew(role, renewals.lifetime);
  }
  // Until all but the last have expired.
  absl::SleepFor(renewals.lifetime - renewals.interval + absl::Seconds(1));
  is_over = true;
  small_caller.join();
  large_caller.join();
  EXPECT_GT(lives, 50);
}

TEST_F(CertificateRenewalTest, NoCallFailsWhileCertificatesAreReplaced) {
  LiveThrough({.lifetime = absl::Seconds(16), .interval = absl::Seconds(8), .count = 4});
}

// 161 s.
TEST_F(CertificateRenewalTest, SlowNoCallFailsWithCertificatesOfAMinute) {
  LiveThrough({.lifetime = absl::Seconds(60), .interval = absl::Seconds(50), .count = 3});
}

}  // namespace
}  // namespace mayfly::client
