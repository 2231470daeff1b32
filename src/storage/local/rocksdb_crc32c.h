// RocksDB's CRC-32C, by the processor: see the .cc.
#pragma once

namespace mayfly {

// Whether RocksDB has called the function that is to take the place of its own. A database that is
// open has computed checksums.
bool RocksdbUsesProcessorCrc32c();

}  // namespace mayfly
