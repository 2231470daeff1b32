#include "rpc/tls_files.h"

#include <filesystem>
#include <string>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "support/temporary_directory.h"
#include "support/test_server.h"

namespace mayfly {
namespace {

class TlsFilesTest : public ::testing::Test {
 protected:
  TlsFilesTest() {
    for (const char* const name : {"ca.pem", "server.pem", "server.key"}) {
      WriteWholeFile(Path(name), Made(name));
    }
    tls_.ca_file = Path("ca.pem");
    tls_.certificate_file = Path("server.pem");
    tls_.key_file = Path("server.key");
    auto opened = TlsFiles::Open(tls_);
    EXPECT_TRUE(opened.ok()) << opened.status();
    files_ = *std::move(opened);
  }

  std::string Path(const std::string& name) const { return directory_ / name; }
  static std::string Made(const std::string& name) {
    static const TestServer server;  // only for its certificates, which take a second to make
    return ReadWholeFile(server.certificates() + "/" + name);
  }
  // The files as gRPC sees them.
  std::string Ca() const { return ReadWholeFile(files_->copies().ca_file); }
  std::string Certificate() const { return ReadWholeFile(files_->copies().certificate_file); }
  std::string Key() const { return ReadWholeFile(files_->copies().key_file); }

  void ExpectNothingChanges(const std::string& setting) {
    const absl::Status status = files_->Refresh();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(status.message().find(setting + " " + directory_.path()), 0) << status;
    EXPECT_TRUE(files_->TakeReloaded().empty());
    EXPECT_EQ(Ca(), Made("ca.pem"));
    EXPECT_EQ(Certificate(), Made("server.pem"));
    EXPECT_EQ(Key(), Made("server.key"));
  }

  TemporaryDirectory directory_;
  Config::Tls tls_;
  std::unique_ptr<TlsFiles> files_;
};

TEST_F(TlsFilesTest, ADamagedCaFileChangesNothing) {
  const std::string good = Made("ca.pem");
  const std::string junk = "-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n";
  for (const std::string& damaged :
       {std::string(), std::string("garbage"), good.substr(0, good.size() / 2), junk, junk + good,
        good + junk, good + good.substr(0, good.size() / 2)}) {
    SCOPED_TRACE(damaged);
    WriteWholeFile(Path("ca.pem"), damaged);
    ExpectNothingChanges("tls.ca_file");
  }
}

TEST_F(TlsFilesTest, AFileThatIsNoFileChangesNothing) {
  for (const auto& [name, setting] :
       {std::pair("ca.pem", "tls.ca_file"), std::pair("server.pem", "tls.certificate_file"),
        std::pair("server.key", "tls.key_file")}) {
    std::filesystem::remove(Path(name));
    ExpectNothingChanges(setting);
    std::filesystem::create_directory(Path(name));
    ExpectNothingChanges(setting);
    std::filesystem::remove(Path(name));
    WriteWholeFile(Path(name), std::string(TlsFiles::kFileBytesMax + 1, '\n'));
    ExpectNothingChanges(setting);
    WriteWholeFile(Path(name), Made(name));
    EXPECT_EQ(files_->Refresh(), absl::OkStatus());
  }
}

TEST_F(TlsFilesTest, AKeyThatIsNotTheCertificatesChangesNothing) {
  for (const std::string& key : {std::string(), std::string("garbage"), Made("client.key")}) {
    WriteWholeFile(Path("server.key"), key);
    ExpectNothingChanges("tls.key_file");
  }
}

TEST_F(TlsFilesTest, AFaultIsToldWithWhatToDo) {
  WriteWholeFile(Path("server.key"), Made("client.key"));
  EXPECT_EQ(files_->Refresh().message(),
            "tls.key_file " + Path("server.key") +
                " is not the key of the certificate in tls.certificate_file " + Path("server.pem") +
                " (key values mismatch): replace the two together");
  std::filesystem::remove(Path("ca.pem"));
  EXPECT_EQ(files_->Refresh().message(), "tls.ca_file " + Path("ca.pem") +
                                             " cannot be read by user " +
                                             std::to_string(geteuid()) +
                                             ": No such file or directory: correct the setting, or "
                                             "put the file there and let this user read it");
}

TEST_F(TlsFilesTest, WhatIsUsableIsTakenUp) {
  WriteWholeFile(Path("ca.pem"), Made("ca.pem") + Made("client.pem"));
  WriteWholeFile(Path("server.pem"), Made("client.pem"));
  WriteWholeFile(Path("server.key"), Made("client.key"));
  EXPECT_TRUE(files_->TakeReloaded().empty());
  EXPECT_EQ(files_->Refresh(), absl::OkStatus());
  EXPECT_EQ(files_->TakeReloaded(),
            std::vector<std::string>(
                {"tls.ca_file " + Path("ca.pem"), "tls.certificate_file " + Path("server.pem") +
                                                      " and tls.key_file " + Path("server.key")}));
  EXPECT_EQ(files_->Refresh(), absl::OkStatus());
  EXPECT_TRUE(files_->TakeReloaded().empty()) << "nothing has changed since";
  EXPECT_EQ(Ca(), Made("ca.pem") + Made("client.pem"));
  EXPECT_EQ(Certificate(), Made("client.pem"));
  EXPECT_EQ(Key(), Made("client.key"));
}

}  // namespace
}  // namespace mayfly
