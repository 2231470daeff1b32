// Random bytes from the kernel, for call ids, claim tokens and jitter. The client does not link the
// cryptography of the server.
#pragma once

#include <string>

#include "base/bytes.h"

namespace mayfly::client {

// Ends the process if the kernel has none, which does not happen on Linux after early boot.
void FillFromKernel(MutableByteSpan out);

// 16 bytes. Each poll has a token of its own, and a token that can be guessed would let others
// acknowledge its outputs.
std::string NewClaimToken();

// Evenly distributed in [0, 1).
double RandomFraction();

}  // namespace mayfly::client
