// The program on a machine whose clock is wrong.
#include <fcntl.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "base/call_id.h"
#include "cli/real_server_fixture.h"
#include "support/clock_shim.h"

namespace mayfly {
namespace {

class CliClockTest : public RealServerFixture {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "the sanitizer's library would have to be loaded first";
#endif
    ClockOffsets offsets;
    offsets.wall_s = 600;
    const std::string path = scratch_.Path("clocks");
    const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ASSERT_EQ(write(file, &offsets, sizeof(offsets)), ssize_t{sizeof(offsets)});
    close(file);
  }
  // `mayfly` whose clock is 10 min ahead.
  Finished ShellAhead(const std::string& line) const {
    return Shell("export LD_PRELOAD=" CLOCK_SHIM_PATH " " + std::string(kClockShimVariable) + "=" +
                 scratch_.Path("clocks") + "; " + line);
  }
};

TEST_F(CliClockTest, InputsOfEverySizeAreStored) {
  for (const char* const bytes : {"5", "3000000"}) {
    const Finished put = ShellAhead("head -c " + std::string(bytes) +
                                    " /dev/urandom > in; mayfly put-input in; cat in | mayfly "
                                    "put-input");
    ASSERT_EQ(put.end.exit_code, 0) << put.err;
    EXPECT_EQ(put.err, "");
    ASSERT_EQ(put.out.size(), 2 * 37) << put.out;
    EXPECT_EQ(Shell("as_worker get-input " + put.out.substr(0, 36) + " | cmp - in").err, "");
    EXPECT_EQ(Shell("as_worker get-input " + put.out.substr(37, 36) + " | cmp - in").err, "");
  }
}

TEST_F(CliClockTest, ManyInputsAreStored) {
  const Finished put = ShellAhead(
      "mkdir many; for i in 1 2 3; do echo $i > many/$i; done; head -c 3000000 /dev/zero > many/4;"
      "mayfly put-input --all many");
  EXPECT_EQ(put.end.exit_code, 0) << put.err;
  for (int i = 0; i < 4; ++i) {
    const std::string line = put.out.substr(put.out.find("many/" + std::to_string(i + 1)) - 37, 36);
    EXPECT_EQ(StateOf(line), client::CallState::kPending) << put.out;
  }
}

TEST_F(CliClockTest, AnIdOfOnesOwnIsRefusedWithTheDistance) {
  const uint8_t random[10] = {};
  const std::string call_id =
      CallId::Mint(absl::Now() + absl::Minutes(10), ByteSpan(random)).ToString();
  const Finished put = ShellAhead("mayfly put-input --call-id " + call_id + " /dev/null");
  EXPECT_EQ(put.end.exit_code, 5);
  EXPECT_NE(put.err.find("ahead of the server's clock, limit is 5m"), std::string::npos) << put.err;
}

}  // namespace
}  // namespace mayfly
