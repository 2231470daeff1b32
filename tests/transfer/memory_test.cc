// The server's memory during transfers: it grows by the buffers of its streams, not by the size of
// the payloads.
//
// Watched is VmRSS, which is what an operator sees and what a container is killed for. It has the
// program's own pages, as they are used for the first time, and the mapping of the slot file (4 KiB
// here); RssAnon, printed beside it, leaves them out. Segments are written and read without a
// mapping, so what the kernel caches of them is in neither.

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "e2e/test_client.h"
#include "support/payload_stream.h"
#include "support/process_memory.h"
#include "support/sizes.h"
#include "support/test_server.h"
#include "transfer/transfer_client.h"

namespace mayfly {
namespace {

constexpr int kStreams = 8;
// 56 to 60 MiB are usual, 65 beside other programs. With memtables as large as RocksDB's own it were 150.
constexpr int64_t kGrowthMax = int64_t{80} * kMiB;

class MemoryTest : public testing::Test {
 protected:
  MemoryTest() {
    server_.Start();
    idle_ = ReadProcessMemory(server_.pid());
  }

  void ExpectGrewLittle(MemoryWatch* watch, const char* what) const {
    const ProcessMemory peak = watch->Peak();
    const int64_t growth = peak.resident_bytes - idle_.resident_bytes;
    std::printf("%s: from %lld MiB by %.1f MiB, of which anonymous %.1f MiB\n", what,
                static_cast<long long>(idle_.resident_bytes / kMiB),
                static_cast<double>(growth) / kMiB,
                static_cast<double>(peak.anonymous_bytes - idle_.anonymous_bytes) / kMiB);
    EXPECT_LE(growth, kGrowthMax);
  }

  // Eight inputs at the same time.
  std::vector<std::string> Upload(uint64_t size) {
    std::vector<std::string> ids(kStreams);
    std::vector<std::thread> threads;
    for (int i = 0; i < kStreams; ++i) {
      ids[i] = client::MintCallId();
      threads.emplace_back([this, id = ids[i], size, i] {
        // A connection of its own, as of a client of its own.
        const client::Client client = ConnectClient(server_, "client");
        PatternSource source(i, size);
        const auto put = client.UploadInput({.call_id = id}, &source);
        EXPECT_TRUE(put.ok()) << put.status();
      });
    }
    for (std::thread& thread : threads) thread.join();
    return ids;
  }

  void ExpectUploadsNeedLittle(uint64_t size) {
    MemoryWatch watch(server_.pid());
    Upload(size);
    ExpectGrewLittle(&watch, "eight uploads");
  }

  TestServer server_;
  ProcessMemory idle_;
};

TEST_F(MemoryTest, EightUploadsGrowTheServerByLittle) { ExpectUploadsNeedLittle(128 * kMiB); }

TEST_F(MemoryTest, SlowEightUploadsOfOneGiBGrowTheServerByLittle) {
  ExpectUploadsNeedLittle(1024 * kMiB);
}

// One Download that takes what it wants and not more.
class SlowReader {
 public:
  SlowReader(const TestServer& server, const std::string& call_id)
      : worker_(server.Channel("worker")) {
    v1::DownloadRequest request;
    request.set_call_id(call_id);
    request.set_kind(v1::PAYLOAD_KIND_INPUT);
    reader_ = worker_.stub()->Download(&context_, request);
  }

  // False at the end.
  bool ReadOne() {
    v1::DownloadResponse response;
    if (!reader_->Read(&response)) return false;
    crc32c_ = ExtendCrc32c(crc32c_, AsBytes(response.segment().data()));
    if (response.has_finish()) is_equal_ = response.finish().crc32c() == crc32c_;
    return true;
  }
  void ExpectRestComes() {
    while (ReadOne()) {
    }
    EXPECT_EQ(Summary(reader_->Finish()), "OK");
    EXPECT_TRUE(is_equal_);
  }

 private:
  TestClient worker_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::DownloadResponse>> reader_;
  uint32_t crc32c_ = 0;
  bool is_equal_ = false;
};

TEST_F(MemoryTest, ReadersThatDoNotReadGrowTheServerByLittle) {
  constexpr absl::Duration kWatched = absl::Seconds(2);
  const std::vector<std::string> ids = Upload(64 * kMiB);
  MemoryWatch watch(server_.pid());
  std::vector<std::unique_ptr<SlowReader>> readers;
  for (const std::string& id : ids) {
    readers.push_back(std::make_unique<SlowReader>(server_, id));
    // The header and a segment: it is under way.
    EXPECT_TRUE(readers.back()->ReadOne());
    EXPECT_TRUE(readers.back()->ReadOne());
  }
  // Much longer than the rest of all payloads would take to come.
  absl::SleepFor(kWatched);
  ExpectGrewLittle(&watch, "eight readers that do not read, and uploads before");
  for (const auto& reader : readers) reader->ExpectRestComes();
  ExpectGrewLittle(&watch, "eight readers, one after another");
}

}  // namespace
}  // namespace mayfly
