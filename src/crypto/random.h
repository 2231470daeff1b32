// Cryptographic randomness, for keys, secrets, salts and tokens.
//
// Small requests are served from a buffer of the calling thread, because asking OpenSSL costs 0.6
// us however few bytes are wanted. No byte is handed out twice: each is wiped as it leaves, and a
// child process starts with an empty buffer. Thread-safe; a failing source ends the process.
#pragma once

#include "base/bytes.h"

namespace mayfly {

void FillRandom(MutableByteSpan out);

}  // namespace mayfly
