// RocksDB's CRC-32C, by the processor.
//
// RocksDB picks its implementation when it is compiled, and Debian compiles for every amd64
// machine: the log's checksums come from tables, at 1.2 GB/s, which for a 64 KiB payload costs as
// much as all of its encryption. A program's own definition of a function takes the place of a
// shared library's (symbol interposition, ld.so(8)); this one computes the same function, so files
// are the same to the byte and every RocksDB reads them. Tested against the library's own bytes.
#include "storage/local/rocksdb_crc32c.h"

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "base/crc32c.h"

namespace mayfly {
namespace {

std::atomic<bool> crc32c_was_called{false};

}  // namespace

bool RocksdbUsesProcessorCrc32c() { return crc32c_was_called; }

}  // namespace mayfly

namespace rocksdb::crc32c {

__attribute__((visibility("default"))) uint32_t Extend(uint32_t crc, const char* data,
                                                       size_t size) {
  using mayfly::crc32c_was_called;
  if (!crc32c_was_called.load(std::memory_order_relaxed)) {
    crc32c_was_called.store(true, std::memory_order_relaxed);
  }
  return mayfly::ExtendCrc32c(crc, mayfly::ByteSpan(reinterpret_cast<const uint8_t*>(data), size));
}

}  // namespace rocksdb::crc32c
