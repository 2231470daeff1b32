// Cryptographic randomness, for keys, secrets, salts and tokens.
//
// Small requests are served from a buffer of the calling thread, because a call to OpenSSL costs
// 0.6 us for any number of bytes. No byte is returned twice: each is wiped when it is returned, and
// a child process starts with an empty buffer. Thread-safe. If the source fails, the process ends.
#pragma once

#include "base/bytes.h"

namespace mayfly {

void FillRandom(MutableByteSpan out);

}  // namespace mayfly
