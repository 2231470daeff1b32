#include "workload.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <sstream>
#include <time.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <sys/resource.h>

#include "base/bytes.h"
#include "base/call_id.h"
#include "client/random.h"

namespace mayfly::peers {
namespace {

// Larger than the caches near a core, small beside what is measured.
constexpr size_t kPoolBytesMin = 8 << 20;
constexpr size_t kPlaceBytes = 64;
// An odd multiplier, so that neighbours in time are none in the pool.
constexpr uint64_t kStride = 0x9E3779B97F4A7C15;
constexpr size_t kRandomBytesOfId = 10;

}  // namespace

int64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void Die(absl::string_view message) {
  std::fprintf(stderr, "%s: %s\n", program_invocation_short_name, std::string(message).c_str());
  // Threads that are under way may not outlive what static destructors take from them.
  std::fflush(stderr);
  std::_Exit(1);
}

std::string ReadFileOrDie(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file.is_open() || file.bad()) Die(absl::StrCat("cannot read ", path));
  return text.str();
}

PayloadPool::PayloadPool(size_t payload_bytes)
    : payload_bytes_(payload_bytes),
      bytes_(kPoolBytesMin + payload_bytes, '\0'),
      places_(kPoolBytesMin / kPlaceBytes) {
  std::mt19937_64 random(std::random_device{}());
  for (size_t i = 0; i + sizeof(uint64_t) <= bytes_.size(); i += sizeof(uint64_t)) {
    const uint64_t word = random();
    memcpy(&bytes_[i], &word, sizeof word);
  }
}

absl::string_view PayloadPool::Slice(uint64_t number) const {
  const uint64_t place = (number * kStride >> 20) % places_;
  return absl::string_view(bytes_).substr(place * kPlaceBytes, payload_bytes_);
}

void CheckEqual(absl::string_view step, absl::string_view received, absl::string_view put) {
  if (received == put) return;
  Die(absl::StrCat(step, ": received ", received.size(), " bytes that are not the ", put.size(),
                   " that were put"));
}

void MintIds(uint32_t count, std::vector<std::string>* ids) {
  std::vector<uint8_t> random(count * kRandomBytesOfId);
  client::FillFromKernel(absl::MakeSpan(random));
  const absl::Time now = absl::Now();
  ids->resize(count);
  for (uint32_t i = 0; i < count; ++i) {
    (*ids)[i] =
        CallId::Mint(now, ByteSpan(&random[i * kRandomBytesOfId], kRandomBytesOfId)).ToString();
  }
}

}  // namespace mayfly::peers
