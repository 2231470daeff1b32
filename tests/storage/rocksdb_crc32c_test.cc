#include "storage/local/rocksdb_crc32c.h"

#include <dlfcn.h>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "rocksdb/version.h"

#include "storage/storage_harness.h"
#include "support/random_seed.h"

namespace mayfly {
namespace {

using Extend = uint32_t (*)(uint32_t crc, const char* data, size_t size);

constexpr char kExtend[] = "_ZN7rocksdb6crc32c6ExtendEjPKcm";

Extend TheirExtend() {
  const std::string name = absl::StrCat("librocksdb.so.", ROCKSDB_MAJOR, ".", ROCKSDB_MINOR);
  void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_NOLOAD);
  return library == nullptr ? nullptr : reinterpret_cast<Extend>(dlsym(library, kExtend));
}

Extend OurExtend() { return reinterpret_cast<Extend>(dlsym(RTLD_DEFAULT, kExtend)); }

TEST(RocksdbCrc32c, TakesThePlaceOfTheLibrarysOwn) {
  StorageHarness storage;
  ASSERT_TRUE(storage.Open().ok());
  EXPECT_TRUE(RocksdbUsesProcessorCrc32c());
  ASSERT_NE(TheirExtend(), nullptr);
  ASSERT_NE(OurExtend(), nullptr);
  EXPECT_NE(OurExtend(), TheirExtend());
}

TEST(RocksdbCrc32c, IsTheSameFunction) {
  // RFC 3720, B.4, by way of the usual check value.
  EXPECT_EQ(OurExtend()(0, "123456789", 9), 0xe3069283u);
  const uint64_t seed = RandomSeed();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  std::string data(5000, '\0');
  for (char& byte : data) byte = static_cast<char>(random());
  for (int i = 0; i < 2000; ++i) {
    const size_t start = random() % 64;
    const size_t size = random() % (i % 10 == 0 ? 4900 : 100);
    const auto crc = static_cast<uint32_t>(random());
    ASSERT_EQ(OurExtend()(crc, data.data() + start, size),
              TheirExtend()(crc, data.data() + start, size));
  }
}

}  // namespace
}  // namespace mayfly
