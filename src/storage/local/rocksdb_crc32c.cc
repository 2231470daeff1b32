// RocksDB's CRC-32C, by the processor.
//
// RocksDB picks its implementation when it is compiled, and Debian compiles for every amd64
// machine: the log's checksums come from tables, at 1.2 GB/s, which for a 64 KiB payload costs as
// much as all of its encryption. A program's own definition of a function takes the place of a
// shared library's (symbol interposition, ld.so(8)); this one computes the same function, so files
// are the same to the byte and every RocksDB reads them. Tested against the library's own bytes.
#include "storage/local/rocksdb_crc32c.h"

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "base/crc32c.h"

namespace rocksdb::crc32c {

__attribute__((visibility("default"))) uint32_t Extend(uint32_t crc, const char* data,
                                                       size_t size) {
  return mayfly::ExtendCrc32c(crc, mayfly::ByteSpan(reinterpret_cast<const uint8_t*>(data), size));
}

}  // namespace rocksdb::crc32c

namespace mayfly {

void UseProcessorCrc32c() {}

}  // namespace mayfly
