// The Referee checks, over its own connection to the server, the state of calls whose clients were
// cut off, and then that nothing of them remains.
//
// Settle brings every call to its end: it plays the worker and the client that come after the ones
// that are gone. Whatever was answered OK must be there, with equal bytes, or must be gone for good
// if it was an ack. Then the tenant's limits are used up to the last, which works only when the
// server counts nothing that is not there any more, and fails beyond.
#pragma once

#include <string>
#include <vector>

#include "e2e/test_client.h"
#include "mayfly/client.h"
#include "support/test_server.h"
#include "transfer/cut_round.h"

namespace mayfly {

// The server's limits: see Settings.
struct RefereeLimits {
  static constexpr int kLiveCalls = 600;
  static constexpr uint64_t kLiveBytes = uint64_t{512} << 20;
  static constexpr int kUploads = 50;
  static constexpr int kClaims = 300;
};

class Referee {
 public:
  // For a TestServer.
  static std::string Settings();

  Referee(const TestServer& server, Findings* findings);

  // Claims are to be had at once when `is_released`, else when their lease has lapsed.
  void Settle(const CutCall& call, bool is_released);
  // When all calls are settled: waits until the sweep has taken what nobody came back for.
  void ExpectSwept();
  void ExpectAllCountersAtZero();

 private:
  client::CallState StateOf(const CutCall& call);
  void Finish(const CutCall& call);
  void Retrieve(const CutCall& call, bool is_released);
  void ExpectEnded(const CutCall& call, Reason reason);

  // How an Upload of an output ends that has no more than this header.
  std::string AnnounceUpload(const std::string& call_id, uint64_t size_bytes);
  std::vector<std::string> PutInputs(int count);
  void ExpectCallsCounted();
  void ExpectBytesCounted();
  void ExpectUploadsCounted();
  void ExpectClaimsCounted();
  void Expect(bool is_true, const std::string& what);

  const client::Client client_;
  const client::Client worker_;
  TestClient raw_client_;
  TestClient raw_worker_;
  Findings* const findings_;
};

}  // namespace mayfly
