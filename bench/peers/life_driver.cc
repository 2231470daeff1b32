// life_driver: drives lives of calls through one peer and reports lives per second.
//
//   life_driver mayfly --address HOST:PORT --certificates DIR [WORKLOAD]     (the null server too)
//   life_driver client --address HOST:PORT --certificates DIR [WORKLOAD]     through the C++ client
//   life_driver client-transfers   likewise: payloads that are streamed there and back
//   life_driver redis  --port PORT --certificates DIR [WORKLOAD]
//   life_driver mayfly-queue, nats   puts and takes each by itself, of --items items
//
// Prints one JSON object. Exits with 1, after one sentence, as soon as anything fails or a payload
// comes back changed. bench/peers/run starts the servers and compares.

#include <cstdio>
#include <functional>
#include <string>

#include "absl/synchronization/mutex.h"
#include <CLI/CLI.hpp>

#include "client_lives.h"
#include "mayfly_lives.h"
#include "nats_queue.h"
#include "redis_lives.h"
#include "transfers.h"

namespace mayfly::peers {
namespace {

struct Arguments {
  Workload workload;
  double warm_up_s = 0.5;
  double measure_s = 2;
  uint32_t items = 20'000;
  std::string address;
  int port = 0;
  std::string certificates;
};

using Run = std::function<nlohmann::json(const Arguments& arguments)>;

void AddPeer(CLI::App* app, const char* name, const char* what, bool by_address, bool by_items,
             Arguments* arguments, Run* chosen, Run run) {
  CLI::App* const peer = app->add_subcommand(name, what);
  Workload* const workload = &arguments->workload;
  if (by_address) {
    peer->add_option("--address", arguments->address, "The server")
        ->required()
        ->type_name("HOST:PORT");
  } else {
    peer->add_option("--port", arguments->port, "The server's, on 127.0.0.1")->required();
  }
  peer->add_option("--certificates", arguments->certificates, "Made by deploy/make-certificates")
      ->required()
      ->type_name("DIR");
  peer->add_option("--payload-bytes", workload->payload_bytes, "Of an input and of an output")
      ->capture_default_str();
  peer->add_option("--batch", workload->batch_calls, "Calls that go from step to step together")
      ->check(CLI::Range(1, 512))
      ->capture_default_str();
  peer->add_option("--lanes", workload->lanes, "Batches under way at one time")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  peer->add_option("--connections", workload->connections, "To each role of the server")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  if (by_address && !by_items) {
    peer->add_flag("--acks-ride", workload->acks_ride,
                   "On the next claim, not in RPCs of their own");
  }
  if (absl::string_view(name) == "mayfly") {
    peer->add_flag("--session", workload->by_session,
                   "Requests on one Session per role and connection, not in RPCs of their own");
  }
  if (by_items) {
    peer->add_option("--items", arguments->items, "Put and then taken")->capture_default_str();
  } else {
    peer->add_option("--warm-up", arguments->warm_up_s, "Seconds before the measured ones")
        ->capture_default_str();
    peer->add_option("--seconds", arguments->measure_s, "Measured")->capture_default_str();
  }
  peer->callback([chosen, run = std::move(run)] { *chosen = run; });
}

int Main(int argc, char** argv) {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  Arguments arguments;
  Run run;
  CLI::App app("Lives of calls, driven through one peer.", "life_driver");
  app.require_subcommand(1);
  AddPeer(&app, "mayfly", "Mayfly, or the null server", /*by_address=*/true, /*by_items=*/false,
          &arguments, &run, [](const Arguments& a) {
            return RunMayflyLives({.address = a.address, .certificate_directory = a.certificates},
                                  a.workload);
          });
  AddPeer(&app, "client",
          "Mayfly, through the C++ client's own batching, a call at a time per lane",
          /*by_address=*/true, /*by_items=*/false, &arguments, &run, [](const Arguments& a) {
            return RunClientLives({.address = a.address, .certificate_directory = a.certificates},
                                  a.workload);
          });
  AddPeer(&app, "client-transfers", "Mayfly, or the null server: uploads, then downloads",
          /*by_address=*/true, /*by_items=*/false, &arguments, &run, [](const Arguments& a) {
            return RunTransfers({.address = a.address, .certificate_directory = a.certificates},
                                a.workload);
          });
  AddPeer(&app, "mayfly-queue", "Mayfly: puts of inputs, then claims and acks of outputs",
          /*by_address=*/true, /*by_items=*/true, &arguments, &run, [](const Arguments& a) {
            return RunMayflyQueue({.address = a.address, .certificate_directory = a.certificates},
                                  a.workload, a.items);
          });
  AddPeer(&app, "redis", "Redis", /*by_address=*/false, /*by_items=*/false, &arguments, &run,
          [](const Arguments& a) {
            return RunRedisLives({.port = a.port, .certificate_directory = a.certificates},
                                 a.workload);
          });
  AddPeer(&app, "nats", "NATS JetStream: publishes, then fetches and acks", /*by_address=*/false,
          /*by_items=*/true, &arguments, &run, [](const Arguments& a) {
            return RunNatsQueue({.port = a.port, .certificate_directory = a.certificates},
                                a.workload, a.items);
          });
  CLI11_PARSE(app, argc, argv);
  arguments.workload.warm_up_ns = static_cast<int64_t>(arguments.warm_up_s * 1e9);
  arguments.workload.measure_ns = static_cast<int64_t>(arguments.measure_s * 1e9);
  std::puts(run(arguments).dump().c_str());
  return 0;
}

}  // namespace
}  // namespace mayfly::peers

int main(int argc, char** argv) { return mayfly::peers::Main(argc, argv); }
