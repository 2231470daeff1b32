// Puts into calls that are over.
#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/real_server_fixture.h"

namespace mayfly {
namespace {

using ::testing::HasSubstr;

class ConsumedTest : public RealServerFixture {
 protected:
  // A call whose output was retrieved.
  std::string NewConsumedCall() const {
    std::string call_id = NewReadyCall("output");
    EXPECT_EQ(Mayfly({"retrieve", call_id}).end.exit_code, 0);
    return call_id;
  }
};

TEST_F(ConsumedTest, APutThatStoresNothingIsNoSuccess) {
  const std::string call_id = NewConsumedCall();
  scratch_.Write("small", "late");
  scratch_.Write("large", std::string(3 * kMiB, 'x'));
  for (const char* const file : {"small", "large"}) {
    for (const std::string& command :
         {absl::StrCat("mayfly put-input --call-id ", call_id, " ", file),
          absl::StrCat("as_worker put-output ", call_id, " ", file),
          absl::StrCat("as_worker put-output --attempt 2 ", call_id, " ", file)}) {
      const Finished run = Shell(command);
      EXPECT_EQ(run.end.exit_code, 3) << command;
      EXPECT_EQ(run.out, "") << command;
      EXPECT_EQ(run.err, absl::StrCat("mayfly: call ", call_id,
                                      ": not found: the output was retrieved and acknowledged; "
                                      "nothing was stored (OUTPUT_CONSUMED)\n"))
          << command;
    }
  }
  const Finished json = Shell(absl::StrCat("as_worker --json put-output ", call_id, " small"));
  EXPECT_EQ(json.end.exit_code, 3);
  EXPECT_THAT(json.err, HasSubstr("\"reason\":\"OUTPUT_CONSUMED\""));
}

}  // namespace
}  // namespace mayfly
