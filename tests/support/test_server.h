// A TestServer is the real mayflyd on a free port, with its own configuration, certificates and
// data directory.
//
//   TestServer server;
//   server.Start();
//   auto stub = v1::FunctionIo::NewStub(server.Channel("client"));
//   EXPECT_EQ(server.Stop(), 0);
//
// It can be stopped, or killed, and started again on the same data. Not thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include <grpcpp/channel.h>
#include <grpcpp/support/channel_arguments.h>
#include <sys/types.h>

#include "support/temporary_directory.h"

namespace mayfly {

// The output of a program, and its exit status.
struct ProgramResult {
  int exit_code = 0;   // 128 + the signal's number when one ended it
  std::string output;  // standard output and error
};
ProgramResult RunProgram(const std::vector<std::string>& arguments);

class TestServer {
 public:
  // `settings` are lines of TOML; those of a section go below a line with its header. Sections that
  // are here already ([server], [tls], [storage], [keys], [log]) may be given again.
  explicit TestServer(const std::string& settings = "");
  // Kills the server if it runs.
  ~TestServer();

  // Starts the server and waits until it listens.
  void StartWithoutWaiting();
  // Starts the server and waits until its health is SERVING.
  void Start();
  void Signal(int number);
  // The exit code, once it has ended.
  int Wait();
  // SIGTERM, then Wait.
  int Stop();
  // kill -9.
  void Kill();

  // A connection of its own, with the certificate NAME.pem of the directory: "client", "worker",
  // "operator", "monitor" are of tenant "default", "other-client" and so on of tenant "other".
  std::shared_ptr<grpc::Channel> Channel(const std::string& certificate,
                                         grpc::ChannelArguments arguments = {}) const;
  // The same to any server that has its certificates.
  std::shared_ptr<grpc::Channel> ChannelTo(int port, const std::string& certificate,
                                           grpc::ChannelArguments arguments = {}) const;
  // Makes NAME.pem with these subjectAltName entries in openssl's notation, or none. Signed by
  // the CA in `ca_directory` when that is not empty, otherwise by the server's.
  void MakeCertificate(const std::string& name, const std::string& alternative_names,
                       const std::string& ca_directory = "") const;

  // The same, valid from and to these times.
  void MakeCertificate(const std::string& name, const std::string& alternative_names,
                       absl::Time not_before, absl::Time not_after) const;

  int port() const { return port_; }
  pid_t pid() const { return pid_; }
  const TemporaryDirectory& directory() const { return directory_; }
  std::string certificates() const { return directory_ / "certificates"; }
  std::string config_path() const { return directory_ / "mayfly.toml"; }
  // Everything it wrote to its log so far, over all starts.
  std::string Log() const;

 private:
  TemporaryDirectory directory_;
  pid_t pid_ = 0;
  int port_ = 0;
};

std::string ReadWholeFile(const std::string& path);
void WriteWholeFile(const std::string& path, const std::string& content);

}  // namespace mayfly
