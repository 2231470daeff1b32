#include "support/test_server.h"

#include <fcntl.h>
#include <fstream>
#include <map>
#include <signal.h>
#include <spawn.h>
#include <sstream>
#include <unistd.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/check.h"
#include "mayfly/v1/function_io.grpc.pb.h"

extern char** environ;

namespace mayfly {
namespace {

constexpr absl::Duration kStartTimeout = absl::Seconds(120);
constexpr absl::Duration kPoll = absl::Milliseconds(5);

// Starts a program whose standard output and error are appended to the file.
pid_t Spawn(const std::vector<std::string>& arguments, const std::string& output_path) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output_path.c_str(),
                                   O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  Check(error == 0, "the program can be started");
  return pid;
}

int ExitCode(pid_t pid) {
  int status = 0;
  Check(waitpid(pid, &status, 0) == pid, "the program can be waited for");
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void RunOrDie(const std::vector<std::string>& arguments) {
  const ProgramResult result = RunProgram(arguments);
  if (result.exit_code != 0) std::fputs(result.output.c_str(), stderr);
  Check(result.exit_code == 0, "the program succeeds");
}

// TOML takes a section's header once only, so those of `text` are merged into `sections`.
void AddSections(const std::string& text, std::map<std::string, std::string>* sections) {
  std::string section;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipWhitespace())) {
    if (line[0] == '[') {
      section = std::string(line);
    } else {
      absl::StrAppend(&(*sections)[section], line, "\n");
    }
  }
}

}  // namespace

ProgramResult RunProgram(const std::vector<std::string>& arguments) {
  TemporaryDirectory directory;
  const pid_t pid = Spawn(arguments, directory / "output");
  const int exit_code = ExitCode(pid);
  return {.exit_code = exit_code, .output = ReadWholeFile(directory / "output")};
}

std::string ReadWholeFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

void WriteWholeFile(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

TestServer::TestServer(const std::string& settings) {
  RunOrDie({MAKE_CERTIFICATES_PATH, certificates()});
  RunOrDie({MAKE_CERTIFICATES_PATH, certificates(), "--tenant", "other", "--prefix", "other-"});
  WriteWholeFile(directory_ / "root.key", std::string(64, '7'));
  chmod((directory_ / "root.key").c_str(), 0600);
  std::map<std::string, std::string> sections = {
      {"[server]", "listen = \"127.0.0.1:0\"\nport_file = \"port\"\n"},
      {"[tls]",
       "ca_file = \"certificates/ca.pem\"\ncertificate_file = \"certificates/server.pem\"\n"
       "key_file = \"certificates/server.key\"\nreload_interval = \"1s\"\n"},
      {"[storage]",
       "data_dir = \"data\"\nmemtable_bytes = \"16MiB\"\ndisk_reserve_bytes = 0\n"
       "index_calls_max = 10000\nallow_unsafe_filesystem = true\n"},
      {"[keys]", "root_key_file = \"root.key\"\n"},
      {"[log]", "file = \"log\"\n"},
  };
  AddSections(settings, &sections);
  std::string config;
  for (const auto& [header, lines] : sections) absl::StrAppend(&config, header, "\n", lines);
  WriteWholeFile(config_path(), config);
}

TestServer::~TestServer() {
  if (pid_ != 0) Kill();
}

void TestServer::StartWithoutWaiting() {
  Check(pid_ == 0, "the server does not run");
  unlink((directory_ / "port").c_str());
  pid_ = Spawn({MAYFLYD_PATH, "--config", config_path()}, directory_ / "output");
  const absl::Time end = absl::Now() + kStartTimeout;
  while (!absl::SimpleAtoi(ReadWholeFile(directory_ / "port"), &port_)) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_ || absl::Now() > end) {
      std::fputs(Log().c_str(), stderr);
      Check(false, "the server listens");
    }
    absl::SleepFor(kPoll);
  }
}

void TestServer::Start() {
  StartWithoutWaiting();
  // Until then it answers STARTING. Any answer of its own will do: this id is malformed.
  const auto stub = v1::FunctionIo::NewStub(Channel("client"));
  const absl::Time end = absl::Now() + kStartTimeout;
  while (true) {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(absl::ToChronoTime(end));
    v1::DescribeCallsRequest request;
    request.add_call_ids("none");
    v1::DescribeCallsResponse response;
    if (stub->DescribeCalls(&context, request, &response).ok()) return;
    Check(absl::Now() < end, "the server serves");
    absl::SleepFor(kPoll);
  }
}

void TestServer::Signal(int number) { Check(kill(pid_, number) == 0, "the server runs"); }

int TestServer::Wait() {
  const pid_t pid = pid_;
  pid_ = 0;
  return ExitCode(pid);
}

int TestServer::Stop() {
  Signal(SIGTERM);
  return Wait();
}

void TestServer::Kill() {
  Signal(SIGKILL);
  Wait();
}

std::shared_ptr<grpc::Channel> TestServer::Channel(const std::string& certificate,
                                                   grpc::ChannelArguments arguments) const {
  return ChannelTo(port_, certificate, std::move(arguments));
}

std::shared_ptr<grpc::Channel> TestServer::ChannelTo(int port, const std::string& certificate,
                                                     grpc::ChannelArguments arguments) const {
  const std::string stem = absl::StrCat(certificates(), "/", certificate);
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = ReadWholeFile(certificates() + "/ca.pem");
  options.pem_cert_chain = ReadWholeFile(stem + ".pem");
  options.pem_private_key = ReadWholeFile(stem + ".key");
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetMaxReceiveMessageSize(-1);
  return grpc::CreateCustomChannel(absl::StrCat("localhost:", port), grpc::SslCredentials(options),
                                   arguments);
}

void TestServer::MakeCertificate(const std::string& name, const std::string& alternative_names,
                                 const std::string& ca_directory) const {
  const std::string ca = ca_directory.empty() ? certificates() : ca_directory;
  const std::string stem = absl::StrCat(certificates(), "/", name);
  WriteWholeFile(stem + ".cnf", alternative_names.empty()
                                    ? "basicConstraints = CA:FALSE\n"
                                    : absl::StrCat("subjectAltName = ", alternative_names, "\n"));
  RunOrDie({"openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-subj", "/CN=test", "-keyout", stem + ".key", "-out", stem + ".csr"});
  RunOrDie({"openssl", "x509", "-req", "-in", stem + ".csr", "-CA", ca + "/ca.pem", "-CAkey",
            ca + "/ca.key", "-days", "1", "-set_serial", "17", "-extfile", stem + ".cnf", "-out",
            stem + ".pem"});
}

void TestServer::MakeCertificate(const std::string& name, const std::string& alternative_names,
                                 absl::Time not_before, absl::Time not_after) const {
  MakeCertificate(name, alternative_names);
  // Only `openssl ca` takes times, and it wants a small database.
  const std::string stem = absl::StrCat(certificates(), "/", name);
  const std::string config = stem + ".ca.cnf";
  WriteWholeFile(stem + ".index", "");
  WriteWholeFile(config, absl::StrCat("[ca]\ndefault_ca = it\n[it]\ndatabase = ", stem,
                                      ".index\nnew_certs_dir = ", certificates(),
                                      "\nrand_serial = yes\ndefault_md = sha256\npolicy = any\n"
                                      "[any]\ncommonName = supplied\n"));
  const auto text = [](absl::Time time) {
    return absl::FormatTime("%Y%m%d%H%M%SZ", time, absl::UTCTimeZone());
  };
  RunOrDie({"openssl",    "ca",
            "-batch",     "-notext",
            "-config",    config,
            "-cert",      certificates() + "/ca.pem",
            "-keyfile",   certificates() + "/ca.key",
            "-extfile",   stem + ".cnf",
            "-startdate", text(not_before),
            "-enddate",   text(not_after),
            "-in",        stem + ".csr",
            "-out",       stem + ".pem"});
}

std::string TestServer::Log() const {
  return ReadWholeFile(directory_ / "log") + ReadWholeFile(directory_ / "output");
}

}  // namespace mayfly
