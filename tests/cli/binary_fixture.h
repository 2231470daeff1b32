// The program as a child process, beside a fake server with certificates.
#pragma once

#include <memory>
#include <stdlib.h>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gtest/gtest.h>

#include "cli/program.h"
#include "cli/scratch.h"
#include "client/fake_function_io.h"

namespace mayfly {

// Runs in `scratch`: a CA, and certificates of it for a server on 127.0.0.1 and for a client.
inline constexpr char kMakeCertificates[] = R"(
set -e
cd "$1"
new_key="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
openssl req -x509 $new_key -keyout ca.key -out ca.pem -subj /CN=ca -days 2
for name in server client; do
  openssl req $new_key -keyout $name.key -out $name.csr -subj /CN=$name
  echo "subjectAltName=IP:127.0.0.1" > $name.ext
  openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
    -extfile $name.ext -out $name.pem
done
)";

inline std::shared_ptr<grpc::ServerCredentials> ServerCredentials(const Scratch& scratch) {
  grpc::SslServerCredentialsOptions options(
      GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = scratch.Read("ca.pem");
  options.pem_key_cert_pairs.push_back({scratch.Read("server.key"), scratch.Read("server.pem")});
  return grpc::SslServerCredentials(options);
}

inline std::string OwnVariable(const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? "" : value;
}

// Of calls that were never put.
inline constexpr char kNever[] = "01a20d9f-dceb-7674-89e9-9062898f8747";
inline constexpr char kNobodys[] = "01a20d9f-dcec-7674-89e9-9062898f8747";

class BinaryFixture : public testing::Test {
 protected:
  struct Finished {
    int exit_code = -1;
    std::string out;
    std::string err;
  };

  static constexpr int kExitOfSanitizers = 1;  // none of the program's own

  static void SetUpTestSuite() {
    scratch_ = new Scratch;
    scratch_->Write("make", kMakeCertificates);
    const std::string command =
        absl::StrCat("sh ", scratch_->Path("make"), " ", scratch_->Path("."), " > ",
                     scratch_->Path("log"), " 2>&1");
    ASSERT_EQ(system(command.c_str()), 0) << scratch_->Read("log");
  }
  static void TearDownTestSuite() { delete scratch_; }

  // `out_path` takes stdout instead of the result.
  Finished Mayfly(const std::vector<std::string>& arguments, const std::string& in = "",
                  const std::string& out_path = "") {
    ProgramPlan plan = Plan(in, out_path);
    plan.words = {MAYFLY_BINARY};
    plan.words.insert(plan.words.end(), arguments.begin(), arguments.end());
    return Run(std::move(plan));
  }
  // A line of bash in the scratch directory, where `mayfly` is the program.
  Finished Shell(const std::string& line) {
    ProgramPlan plan = Plan("", "");
    plan.words = {"/bin/bash", "-c", absl::StrCat("cd ", scratch_->Path("."), "; ", line)};
    return Run(std::move(plan));
  }

  std::string PutInput(const std::string& data) {
    const Finished run = Mayfly({"put-input"}, data);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return run.out.substr(0, run.out.find('\n'));
  }

  static Scratch* scratch_;
  FakeFunctionIo server_{ServerCredentials(*scratch_)};

 private:
  ProgramPlan Plan(const std::string& in, const std::string& out_path) {
    const std::string program = MAYFLY_BINARY;
    return {.variables = {absl::StrCat("PATH=", program.substr(0, program.rfind('/')),
                                       ":/usr/bin:/bin"),
                          "HOME=" + scratch_->Path(""), "MAYFLY_SERVER=" + server_.target(),
                          "MAYFLY_CA=" + scratch_->Path("ca.pem"),
                          "MAYFLY_CERT=" + scratch_->Path("client.pem"),
                          "MAYFLY_KEY=" + scratch_->Path("client.key"),
                          absl::StrCat("LSAN_OPTIONS=", OwnVariable("LSAN_OPTIONS"))},
            .in = scratch_->Write("stdin", in),
            .out = out_path.empty() ? scratch_->Path("stdout") : out_path,
            .err = scratch_->Path("stderr")};
  }
  Finished Run(ProgramPlan plan) {
    const bool is_kept = plan.out == scratch_->Path("stdout");
    Finished run{.exit_code = Program(std::move(plan)).Wait().exit_code,
                 .out = is_kept ? scratch_->Read("stdout") : "",
                 .err = scratch_->Read("stderr")};
    EXPECT_NE(run.exit_code, kExitOfSanitizers) << run.err;
    return run;
  }
};

inline Scratch* BinaryFixture::scratch_ = nullptr;

}  // namespace mayfly
