// stream_driver: the client of bench/waiting.
//
//   stream_driver mayfly-wait --address HOST:PORT --certificates DIR --streams N --calls N
//   stream_driver mayfly-puts --address HOST:PORT --certificates DIR [--session] --batch N
//
// Prints one JSON object; before that, mayfly-wait prints a line for each of its stages and reads
// one before it goes on. Exits with 1, after one sentence, as soon as anything fails.

#include <cstdio>
#include <functional>

#include "absl/synchronization/mutex.h"
#include <CLI/CLI.hpp>

#include "mayfly_streams.h"

namespace mayfly::peers {
namespace {

void AddTarget(CLI::App* app, MayflyTarget* target) {
  app->add_option("--address", target->address, "The server")->required()->type_name("HOST:PORT");
  app->add_option("--certificates", target->certificate_directory,
                  "Made by deploy/make-certificates")
      ->required()
      ->type_name("DIR");
}

int Main(int argc, char** argv) {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  MayflyTarget target;
  Waiting waiting{.streams = 1000, .calls_per_stream = 200};
  Puts puts{.under_way = 4};
  double warm_up_s = 0.5;
  double measure_s = 2;
  std::function<nlohmann::json()> run;
  CLI::App app("What streams cost a Mayfly.", "stream_driver");
  app.require_subcommand(1);

  CLI::App* const wait = app.add_subcommand("mayfly-wait", "Waits for calls on streams");
  AddTarget(wait, &target);
  wait->add_option("--streams", waiting.streams, "That wait")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  wait->add_option("--calls", waiting.calls_per_stream, "That each waits for in the end")
      ->check(CLI::Range(2, 65'536))
      ->capture_default_str();
  wait->callback([&] { run = [&] { return RunMayflyWaiting(target, waiting); }; });

  CLI::App* const put = app.add_subcommand("mayfly-puts", "Puts inputs");
  AddTarget(put, &target);
  put->add_flag("--session", puts.by_session, "On one Session, not in RPCs of their own");
  put->add_option("--batch", puts.batch_items, "Items that are put together")
      ->check(CLI::Range(1, 512))
      ->capture_default_str();
  put->add_option("--under-way", puts.under_way, "Batches at one time")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  put->add_option("--seconds", measure_s, "To measure")->capture_default_str();
  put->add_option("--warm-up", warm_up_s, "Before that, in seconds")->capture_default_str();
  put->callback([&] {
    run = [&] {
      puts.warm_up_ns = static_cast<int64_t>(warm_up_s * 1e9);
      puts.measure_ns = static_cast<int64_t>(measure_s * 1e9);
      return RunMayflyPuts(target, puts);
    };
  });

  CLI11_PARSE(app, argc, argv);
  std::puts(run().dump().c_str());
  return 0;
}

}  // namespace
}  // namespace mayfly::peers

int main(int argc, char** argv) { return mayfly::peers::Main(argc, argv); }
