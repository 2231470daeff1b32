// One round of the cut loop: a client and a worker, created for this round, run the lives of a few
// calls through a proxy that may cut a connection anywhere.
//
// A patient pair repeats what got no answer, as programs that use the library do: to them the cut
// must not show, and every output comes once. An impatient pair is gone at the first sign of it, as
// programs are that are killed: what it leaves is for the referee to judge.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "crash/findings.h"
#include "mayfly/client.h"
#include "support/tcp_proxy.h"

namespace mayfly {

// The ways that payloads take.
enum class Traffic {
  kBatches,   // calls of 1 KiB, an RPC for each step of all of them
  kStream,    // the same, with outputs and acks on one session
  kSegments,  // a call whose payloads are uploaded and downloaded
};
inline constexpr std::array kAllTraffic = {Traffic::kBatches, Traffic::kStream, Traffic::kSegments};
// The steps of a life: which there are is the traffic's.
enum class Phase { kPutInput, kGetInput, kPutOutput, kReceive, kAck };
const char* ToString(Traffic traffic);
const char* ToString(Phase phase);

// The pair's knowledge of a call at its end.
struct CutCall {
  std::string id;
  std::string story;  // of its round, for whoever reads of a violation
  uint64_t seed = 0;  // of the input; that of the output is one more
  uint64_t size_bytes = 0;
  bool is_input_stored = false;   // as it was answered
  bool is_output_stored = false;  // as it was answered
  int delivered_count = 0;
  bool was_ack_tried = false;
  bool is_acked = false;  // as it was answered
};

class CutRound {
 public:
  struct Setup {
    Traffic traffic = Traffic::kBatches;
    bool is_patient = true;
    uint64_t seed = 0;
    std::string story;
    std::string certificates;
    TcpProxy* proxy = nullptr;
    Findings* findings = nullptr;
    // Where the pair is, from now on.
    std::function<void(Phase)> on_phase;
  };
  explicit CutRound(Setup setup);
  ~CutRound();

  void Run();
  // Afterwards. An ack that is answered later is not in it.
  std::vector<CutCall> Calls() const;

 private:
  // Acks are answered on a thread of the client's, which may outlive the round.
  struct Acks {
    Mutex mutex;
    std::vector<absl::Status> statuses GUARDED_BY(mutex);  // of each call's, UNKNOWN before
  };

  client::Client Connect(const std::string& who) const;
  std::vector<std::string> Ids() const;
  std::string InputOf(const CutCall& call) const;
  std::string OutputOf(const CutCall& call) const;

  void RunBatches();
  bool PutInputs();
  bool PutOutputs();
  void RunStream();
  bool ReceiveOnStream(client::OutputStream* stream, std::vector<client::Claim>* unacked);
  void AckOnStream(client::OutputStream* stream, const client::Claim& claim);
  void RunSegments();
  bool UploadInput();
  bool DownloadInput();
  bool UploadOutput();
  void Retrieve();

  // Whether the life continues. A patient pair must see only OK.
  bool Went(const absl::Status& status, const char* step);
  bool ExpectPayload(bool is_equal, const char* what);
  void Deliver(CutCall* call, const std::string& data);
  CutCall* Find(const std::string& id);

  const Setup setup_;
  const client::Client client_;
  const client::Client worker_;
  std::vector<CutCall> calls_;
  const std::shared_ptr<Acks> acks_ = std::make_shared<Acks>();
};

}  // namespace mayfly
