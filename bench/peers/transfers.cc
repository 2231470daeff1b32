#include "transfers.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"

#include "client_connect.h"
#include "mayfly/client.h"

namespace mayfly::peers {
namespace {

constexpr size_t kBlockBytes = 8 << 20;

// A random block, again and again, and each time from another place on: so that no two pieces of a
// payload are the same.
class Block {
 public:
  Block() : pool_(kBlockBytes), bytes_(pool_.Input(0)) {}

  // The next of them at `offset` of a payload, of up to `size` bytes.
  absl::string_view At(uint64_t offset, size_t size) const {
    const uint64_t rotation = 61 * (offset / kBlockBytes);
    const size_t place = (offset + rotation) % kBlockBytes;
    return bytes_.substr(place,
                         std::min({size, kBlockBytes - place,
                                   kBlockBytes - static_cast<size_t>(offset % kBlockBytes)}));
  }

 private:
  const PayloadPool pool_;
  const absl::string_view bytes_;
};

class BlockSource final : public client::PayloadSource {
 public:
  BlockSource(const Block* block, uint64_t size_bytes) : block_(*block), size_bytes_(size_bytes) {}

  std::optional<uint64_t> SizeBytes() const override { return size_bytes_; }

  absl::StatusOr<size_t> ReadAt(uint64_t offset, char* buffer, size_t size) override {
    size_t done = 0;
    const size_t wanted = std::min<uint64_t>(size, size_bytes_ - offset);
    while (done < wanted) {
      const absl::string_view bytes = block_.At(offset + done, wanted - done);
      std::memcpy(buffer + done, bytes.data(), bytes.size());
      done += bytes.size();
    }
    return done;
  }

 private:
  const Block& block_;
  const uint64_t size_bytes_;
};

class CompareSink final : public client::PayloadSink {
 public:
  explicit CompareSink(const Block* block) : block_(*block) {}

  absl::Status WriteAt(uint64_t offset, absl::string_view data) override {
    while (!data.empty()) {
      const absl::string_view put = block_.At(offset, data.size());
      CheckEqual("DownloadInput", data.substr(0, put.size()), put);
      offset += put.size();
      data.remove_prefix(put.size());
    }
    return absl::OkStatus();
  }

  absl::Status Finish(uint64_t) override { return absl::OkStatus(); }

 private:
  const Block& block_;
};

// Seconds until all lanes have done it.
template <typename Lane>
double TimeAll(uint32_t lanes, Lane lane) {
  const int64_t begun_ns = NowNs();
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < lanes; ++i) threads.emplace_back(lane, i);
  for (std::thread& thread : threads) thread.join();
  return static_cast<double>(NowNs() - begun_ns) / 1e9;
}

template <typename Result>
void CheckOk(absl::string_view step, const Result& result) {
  if (!result.ok()) Die(absl::StrCat(step, ": ", result.status().ToString()));
}

}  // namespace

nlohmann::json RunTransfers(const MayflyTarget& target, const Workload& workload) {
  const client::Client client = ConnectOrDie(target, "client");
  const client::Client worker = ConnectOrDie(target, "worker");
  const Block block;
  std::vector<std::string> call_ids;
  MintIds(workload.lanes, &call_ids);

  const double upload_s = TimeAll(workload.lanes, [&](uint32_t lane) {
    BlockSource source(&block, workload.payload_bytes);
    CheckOk("UploadInput", client.UploadInput({.call_id = call_ids[lane]}, &source));
  });
  const double download_s = TimeAll(workload.lanes, [&](uint32_t lane) {
    CompareSink sink(&block);
    CheckOk("DownloadInput", worker.DownloadInput(call_ids[lane], &sink));
  });
  for (const auto& deleted : client.DeleteCalls(call_ids)) CheckOk("DeleteCalls", deleted);

  const double megabytes = static_cast<double>(workload.payload_bytes) * workload.lanes / 1e6;
  return {{"upload_mb_per_s", megabytes / upload_s},
          {"download_mb_per_s", megabytes / download_s},
          {"payload_bytes", workload.payload_bytes},
          {"lanes", workload.lanes}};
}

}  // namespace mayfly::peers
