// scale_driver: the client with which bench/peers/run compares servers that hold many calls.
//
//   scale_driver mayfly-fill  --address HOST:PORT --certificates DIR --calls N   puts inputs
//   scale_driver redis-fill   --port PORT --certificates DIR --calls N           sets keys
//   scale_driver mayfly-probe --address HOST:PORT --certificates DIR --sample FILE
//   scale_driver slot-watch   --slot-file FILE                                   when all is erased
//
// Prints one JSON object. Exits with 1, after one sentence, as soon as anything fails.

#include <cstdio>
#include <functional>
#include <string>

#include "absl/synchronization/mutex.h"
#include <CLI/CLI.hpp>

#include "mayfly_fill.h"
#include "redis_fill.h"
#include "slot_watch.h"

namespace mayfly::peers {
namespace {

struct Arguments {
  MayflyTarget mayfly;
  RedisTarget redis;
  Workload workload = {.batch_calls = 256, .lanes = 4, .connections = 2};
  Fill fill;
  std::string certificates;
  std::string sample_path;
  std::string slot_file;
  double seconds = 60;
};

void AddTarget(CLI::App* app, bool is_redis, Arguments* arguments) {
  if (is_redis) {
    app->add_option("--port", arguments->redis.port, "The server's, on 127.0.0.1")->required();
  } else {
    app->add_option("--address", arguments->mayfly.address, "The server")
        ->required()
        ->type_name("HOST:PORT");
  }
  app->add_option("--certificates", arguments->certificates, "Made by deploy/make-certificates")
      ->required()
      ->type_name("DIR");
}

void AddFill(CLI::App* app, Arguments* arguments) {
  Workload* const workload = &arguments->workload;
  app->add_option("--calls", arguments->fill.calls, "To put")->required();
  app->add_option("--end", arguments->fill.end_unix_ms,
                  "When all of them end, in milliseconds since 1970; 0: a day after the put")
      ->capture_default_str();
  app->add_option("--sample", arguments->fill.sample_path, "Gets the ids of a thousand of them")
      ->type_name("FILE");
  app->add_option("--payload-bytes", workload->payload_bytes, "Of an input")->capture_default_str();
  app->add_option("--batch", workload->batch_calls, "Calls that are put together")
      ->check(CLI::Range(1, 512))
      ->capture_default_str();
  app->add_option("--lanes", workload->lanes, "Batches under way at one time")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
}

int Main(int argc, char** argv) {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  Arguments a;
  std::function<nlohmann::json()> run;
  CLI::App app("Many calls in one server, and what became of them.", "scale_driver");
  app.require_subcommand(1);

  CLI::App* const mayfly_fill = app.add_subcommand("mayfly-fill", "Puts inputs");
  AddTarget(mayfly_fill, /*is_redis=*/false, &a);
  AddFill(mayfly_fill, &a);
  mayfly_fill->callback([&] { run = [&] { return RunMayflyFill(a.mayfly, a.workload, a.fill); }; });

  CLI::App* const redis_fill = app.add_subcommand("redis-fill", "Sets keys");
  AddTarget(redis_fill, /*is_redis=*/true, &a);
  AddFill(redis_fill, &a);
  redis_fill->callback([&] { run = [&] { return RunRedisFill(a.redis, a.workload, a.fill); }; });

  CLI::App* const probe = app.add_subcommand("mayfly-probe", "Looks at the calls of a sample");
  AddTarget(probe, /*is_redis=*/false, &a);
  probe->add_option("--sample", a.sample_path, "Ids, one a line")->required()->type_name("FILE");
  probe->add_option("--seconds", a.seconds, "To wait for the server at most")
      ->capture_default_str();
  probe->callback(
      [&] { run = [&] { return RunMayflyProbe(a.mayfly, a.sample_path, a.seconds); }; });

  CLI::App* const watch = app.add_subcommand("slot-watch", "Waits until live slots are erased");
  watch->add_option("--slot-file", a.slot_file, "Of a server")->required()->type_name("FILE");
  watch->add_option("--seconds", a.seconds, "To watch at most")->capture_default_str();
  watch->callback([&] { run = [&] { return RunSlotWatch(a.slot_file, a.seconds); }; });

  CLI11_PARSE(app, argc, argv);
  a.mayfly.certificate_directory = a.certificates;
  a.redis.certificate_directory = a.certificates;
  std::puts(run().dump().c_str());
  return 0;
}

}  // namespace
}  // namespace mayfly::peers

int main(int argc, char** argv) { return mayfly::peers::Main(argc, argv); }
