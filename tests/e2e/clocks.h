// Changes the clocks of a running test server.
//
//   Clocks clocks;
//   clocks.Start(&server);
//   clocks.JumpWall(3600);
//   clocks.Suspend(868);  // as it looks afterwards
//
// The wall clock counts as synchronised. Not thread-safe, and not for builds with sanitizers.
#pragma once

#include <cstdlib>
#include <fcntl.h>
#include <memory>
#include <new>
#include <string>
#include <unistd.h>

#include <sys/mman.h>

#include "base/check.h"
#include "support/clock_shim.h"
#include "support/temporary_directory.h"
#include "support/test_server.h"

namespace mayfly {

class Clocks {
  static constexpr int64_t kCertificatesFromS = -7 * 24 * 3600;

  // Processes that `action` starts have their clocks changed.
  template <typename Action>
  auto WithShim(Action action) {
    setenv("LD_PRELOAD", CLOCK_SHIM_PATH, /*overwrite=*/1);
    setenv(kClockShimVariable, path_.c_str(), /*overwrite=*/1);
    auto result = action();
    unsetenv("LD_PRELOAD");
    unsetenv(kClockShimVariable);
    return result;
  }

 public:
  Clocks() {
    const int file = open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    Check(file >= 0 && ftruncate(file, sizeof(ClockOffsets)) == 0, "the offsets have a file");
    void* const mapped =
        mmap(nullptr, sizeof(ClockOffsets), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    Check(mapped != MAP_FAILED, "the offsets can be mapped");
    offsets_ = new (mapped) ClockOffsets;
  }
  ~Clocks() { munmap(offsets_, sizeof(ClockOffsets)); }
  Clocks(const Clocks&) = delete;
  Clocks& operator=(const Clocks&) = delete;

  // A server whose certificates are valid wherever a test sets the wall clock.
  std::unique_ptr<TestServer> NewServer(const std::string& settings) {
    const int64_t wall_s = offsets_->wall_s;
    offsets_->wall_s = kCertificatesFromS;
    auto server = WithShim([&] { return std::make_unique<TestServer>(settings); });
    offsets_->wall_s = wall_s;
    return server;
  }
  void Start(TestServer* server) {
    WithShim([server] {
      server->Start();
      return true;
    });
  }

  void JumpWall(int64_t seconds) { offsets_->wall_s += seconds; }
  // Both clocks run on while the machine, or the process, does not.
  void Suspend(int64_t seconds) {
    offsets_->wall_s += seconds;
    offsets_->boottime_s += seconds;
  }
  int64_t wall_s() const { return offsets_->wall_s; }

 private:
  TemporaryDirectory directory_;
  const std::string path_ = directory_ / "clocks";
  ClockOffsets* offsets_ = nullptr;
};

}  // namespace mayfly
