// floor: measures the limits of the machine: AES-256-GCM of messages of one size, and synced
// appends to a disk.
//
//   floor --directory DIR [--seconds S]
//
// Prints one JSON object.

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <openssl/evp.h>

#include "workload.h"

namespace mayfly::peers {
namespace {

constexpr size_t kAppendBytes = 4096;
constexpr size_t kTagBytes = 16;

// Calls `operation` for so long, and answers how often in a second.
template <typename Operation>
double PerSecond(double seconds, Operation operation) {
  const int64_t begun_ns = NowNs();
  const int64_t end_ns = begun_ns + static_cast<int64_t>(seconds * 1e9);
  uint64_t count = 0;
  int64_t now_ns = begun_ns;
  for (; now_ns < end_ns; now_ns = NowNs()) {
    operation();
    ++count;
  }
  return static_cast<double>(count) * 1e9 / static_cast<double>(now_ns - begun_ns);
}

// A new key and nonce for each message, as a store with a key per payload needs; one thread.
double SealsPerSecond(size_t payload_bytes, double seconds) {
  const std::string plaintext(payload_bytes, 'x');
  std::string sealed(payload_bytes, '\0');
  unsigned char key[32] = {};
  unsigned char nonce[12] = {};
  unsigned char tag[kTagBytes];
  EVP_CIPHER* const cipher = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  EVP_CIPHER_CTX* const context = EVP_CIPHER_CTX_new();
  uint64_t number = 0;
  const double rate = PerSecond(seconds, [&] {
    ++number;
    memcpy(key, &number, sizeof number);
    memcpy(nonce, &number, sizeof number);
    int size = 0;
    const bool sealed_well =
        EVP_EncryptInit_ex2(context, cipher, key, nonce, nullptr) == 1 &&
        EVP_EncryptUpdate(context, reinterpret_cast<unsigned char*>(sealed.data()), &size,
                          reinterpret_cast<const unsigned char*>(plaintext.data()),
                          static_cast<int>(payload_bytes)) == 1 &&
        EVP_EncryptFinal_ex(context, tag, &size) == 1 &&
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kTagBytes, tag) == 1;
    if (!sealed_well) Die("AES-256-GCM failed");
  });
  EVP_CIPHER_CTX_free(context);
  EVP_CIPHER_free(cipher);
  return rate;
}

double SyncsPerSecond(const std::string& directory, double seconds) {
  const std::string path = directory + "/floor.append";
  const int descriptor = open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  if (descriptor < 0) Die(absl::StrCat("cannot write in ", directory));
  const std::string block(kAppendBytes, 'x');
  const double rate = PerSecond(seconds, [&] {
    if (write(descriptor, block.data(), block.size()) != ssize_t{kAppendBytes} ||
        fdatasync(descriptor) != 0) {
      Die(absl::StrCat("the append failed: ", strerrordesc_np(errno)));
    }
  });
  close(descriptor);
  unlink(path.c_str());
  return rate;
}

nlohmann::json Measure(const std::string& directory, double seconds) {
  nlohmann::json seals = nlohmann::json::array();
  for (size_t kib : {1, 16, 64, 1024}) {
    seals.push_back({{"size_bytes", kib << 10}, {"per_s", SealsPerSecond(kib << 10, seconds)}});
  }
  return {{"aes_256_gcm", seals}, {"fdatasync_per_s", SyncsPerSecond(directory, seconds)}};
}

}  // namespace
}  // namespace mayfly::peers

int main(int argc, char** argv) {
  std::string directory;
  double seconds = 0.3;
  CLI::App app("What the machine itself can do.", "floor");
  app.add_option("--directory", directory, "On the disk to measure")->required()->type_name("DIR");
  app.add_option("--seconds", seconds, "For each figure")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  std::puts(mayfly::peers::Measure(directory, seconds).dump().c_str());
  return 0;
}
