// Random bytes from the kernel: for call ids, claim tokens and jitter. The client does not link the
// server's cryptography.
#pragma once

#include <string>

#include "base/bytes.h"

namespace mayfly::client {

// Ends the process when the kernel has none to give, which Linux rules out after early boot.
void FillFromKernel(MutableByteSpan out);

// 16 bytes, fresh for every poll: who guessed one could acknowledge another's output.
std::string NewClaimToken();

// Evenly distributed in [0, 1).
double RandomFraction();

}  // namespace mayfly::client
