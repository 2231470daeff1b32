// RocksDB's CRC-32C, by the processor: see the .cc.
#pragma once

namespace mayfly {

// Does nothing, but takes the definition along into the program: a linker leaves out of a static
// library what nobody names.
void UseProcessorCrc32c();

}  // namespace mayfly
