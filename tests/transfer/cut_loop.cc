// Cuts connections to the real server at random bytes, in either direction, and checks that nothing
// is lost, delivered after its ack, or left behind.
//
//   mayfly_cut_loop CUTS [SEED]
//
// At first each kind of traffic runs uncut, and the bytes of each phase of it are counted. A round
// then draws a phase, a direction and an offset within those bytes, so that handshakes, payloads,
// answers and acks are all cut, from before their first byte to behind their last. Several lanes, each
// with a proxy of its own, run against one server. What every round leaves is judged by the Referee;
// in the end the server is stopped and its files are looked at.
//
// Exit code 0 when nothing was wrong, 1 otherwise, 2 for wrong arguments. The random choices are
// those of the seed; what meets what on the server is not.

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "crash/findings.h"
#include "support/loop_arguments.h"
#include "support/stored_data.h"
#include "support/tcp_proxy.h"
#include "support/test_server.h"
#include "transfer/cut_round.h"
#include "transfer/referee.h"

namespace mayfly {
namespace {

constexpr size_t kLaneCount = 4;
// Calls of so many rounds are settled together, when most leases have lapsed.
constexpr size_t kUnsettledRoundsMax = 8;
constexpr std::array kDirections = {TcpProxy::kToServer, TcpProxy::kToClient};

// Where a cut goes.
struct Place {
  Traffic traffic = Traffic::kBatches;
  Phase phase = Phase::kPutInput;
  TcpProxy::Direction direction = TcpProxy::kToServer;
  uint64_t bytes = 0;  // that pass there without a cut
};

// The places that the traffic has, from a run without a cut.
std::vector<Place> MeasurePlaces(const TestServer& server, Traffic traffic, Findings* findings) {
  TcpProxy proxy(server.port());
  std::vector<Place> places;
  const auto end_phase = [&] {
    for (const TcpProxy::Direction direction : kDirections) {
      if (places.size() < 2) return;
      Place& place = places[places.size() - 2 + direction];
      place.bytes = proxy.PassedBytes(direction) - place.bytes;
    }
  };
  CutRound round({.traffic = traffic,
                  .is_patient = true,
                  .seed = 0,
                  .story = absl::StrCat(ToString(traffic), " uncut"),
                  .certificates = server.certificates(),
                  .proxy = &proxy,
                  .findings = findings,
                  .on_phase = [&](Phase phase) {
                    end_phase();
                    for (const TcpProxy::Direction direction : kDirections) {
                      places.push_back({traffic, phase, direction, proxy.PassedBytes(direction)});
                    }
                  }});
  round.Run();
  end_phase();
  Referee referee(server, findings);
  for (const CutCall& call : round.Calls()) {
    if (!call.is_acked) findings->Report("a life without a cut does not come to its end");
    referee.Settle(call, /*is_released=*/true);
  }
  return places;
}

std::string StoryOf(const Place& place, uint64_t offset, TcpProxy::Ending ending, bool is_patient) {
  return absl::StrCat(is_patient ? "patient " : "impatient ", ToString(place.traffic), ", ",
                      ending == TcpProxy::Ending::kFin ? "ended" : "reset", " behind byte ", offset,
                      " to the ", place.direction == TcpProxy::kToServer ? "server" : "client",
                      " of phase ", ToString(place.phase));
}

class CutLoop {
 public:
  explicit CutLoop(uint64_t seed) : seeds_(seed), server_(Referee::Settings()) {}

  void Run(uint64_t cut_count);
  uint64_t violation_count() const { return findings_.count(); }

 private:
  // Cuts until all are done.
  void RunLane(uint64_t seed);
  // Returns whether the connection was cut, and the calls that may be affected.
  bool RunRound(const Place& place, std::mt19937_64* random, TcpProxy* proxy, Referee* referee,
                std::vector<CutCall>* unsettled);
  void ExpectNothingLeft();

  std::mt19937_64 seeds_;
  Findings findings_;
  TestServer server_;
  std::vector<Place> places_;
  std::unique_ptr<std::atomic<uint64_t>[]> cuts_;  // of each place
  std::atomic<uint64_t> next_place_{0};
  std::atomic<int64_t> cuts_left_{0};
};

void CutLoop::Run(uint64_t cut_count) {
  server_.Start();
  for (const Traffic traffic : kAllTraffic) {
    const std::vector<Place> places = MeasurePlaces(server_, traffic, &findings_);
    places_.insert(places_.end(), places.begin(), places.end());
  }
  std::shuffle(places_.begin(), places_.end(), seeds_);
  cuts_ = std::make_unique<std::atomic<uint64_t>[]>(places_.size());
  cuts_left_ = static_cast<int64_t>(cut_count);

  std::vector<std::thread> lanes;
  for (size_t i = 0; i < kLaneCount; ++i) {
    lanes.emplace_back([this, seed = seeds_()] { RunLane(seed); });
  }
  for (std::thread& lane : lanes) lane.join();
  ExpectNothingLeft();
  for (size_t i = 0; i < places_.size(); ++i) {
    const Place& place = places_[i];
    std::printf("%-8s %-10s to %s: %8llu bytes, %llu cuts\n", ToString(place.traffic),
                ToString(place.phase), place.direction == TcpProxy::kToServer ? "server" : "client",
                static_cast<unsigned long long>(place.bytes),
                static_cast<unsigned long long>(cuts_[i].load()));
  }
}

void CutLoop::RunLane(uint64_t seed) {
  std::mt19937_64 random(seed);
  TcpProxy proxy(server_.port());
  Referee referee(server_, &findings_);
  std::vector<CutCall> unsettled;
  size_t round_count = 0;
  // A cut that does not come, because less has passed this time, is none.
  while (cuts_left_.fetch_sub(1) > 0) {
    const size_t index = next_place_.fetch_add(1) % places_.size();
    if (RunRound(places_[index], &random, &proxy, &referee, &unsettled)) {
      ++cuts_[index];
    } else {
      ++cuts_left_;
    }
    if (++round_count % kUnsettledRoundsMax != 0) continue;
    for (const CutCall& call : unsettled) referee.Settle(call, /*is_released=*/false);
    unsettled.clear();
  }
  for (const CutCall& call : unsettled) referee.Settle(call, /*is_released=*/false);
}

bool CutLoop::RunRound(const Place& place, std::mt19937_64* random, TcpProxy* proxy,
                       Referee* referee, std::vector<CutCall>* unsettled) {
  const uint64_t offset = (*random)() % (place.bytes + 1);
  const bool is_patient = (*random)() % 2 == 0;
  const auto ending = (*random)() % 2 == 0 ? TcpProxy::Ending::kFin : TcpProxy::Ending::kReset;
  const uint64_t seed = (*random)();
  bool is_cut = false;
  std::vector<CutCall> calls;
  {
    CutRound round({.traffic = place.traffic,
                    .is_patient = is_patient,
                    .seed = seed,
                    .story = StoryOf(place, offset, ending, is_patient),
                    .certificates = server_.certificates(),
                    .proxy = proxy,
                    .findings = &findings_,
                    .on_phase = [&](Phase phase) {
                      if (phase != place.phase) return;
                      is_cut = true;
                      proxy->CutAfter(place.direction, offset, ending);
                    }});
    round.Run();
    if (is_cut) is_cut = !proxy->CancelCut();
    calls = round.Calls();
  }
  // The end of a stream releases its claims; those of a claim that nobody heard of lapse.
  const bool is_released = place.traffic != Traffic::kBatches;
  for (const CutCall& call : calls) {
    if (is_released) {
      referee->Settle(call, /*is_released=*/true);
    } else {
      unsettled->push_back(call);
    }
  }
  return is_cut;
}

void CutLoop::ExpectNothingLeft() {
  {
    Referee referee(server_, &findings_);
    referee.ExpectSwept();
    referee.ExpectAllCountersAtZero();
  }
  if (const int exit_code = server_.Stop(); exit_code != 0) {
    findings_.Report(absl::StrCat("the server stopped with exit code ", exit_code));
  }
  const StoredData left = ReadStoredData(server_.directory() / "data");
  if (left == StoredData{}) return;
  std::ostringstream text;
  text << "the data directory still has " << left;
  findings_.Report(text.str());
}

int Main(uint64_t cut_count, uint64_t seed) {
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  const absl::Time begun = absl::Now();
  CutLoop loop(seed);
  loop.Run(cut_count);
  std::printf("%llu cuts in %s, %llu violations\n", static_cast<unsigned long long>(cut_count),
              absl::FormatDuration(absl::Now() - begun).c_str(),
              static_cast<unsigned long long>(loop.violation_count()));
  return loop.violation_count() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace mayfly

int main(int argc, char** argv) {
  const auto arguments = mayfly::ReadLoopArguments(argc, argv);
  if (!arguments) {
    std::fputs("usage: mayfly_cut_loop CUTS [SEED]\n", stderr);
    return 2;
  }
  return mayfly::Main(arguments->count, arguments->seed);
}
