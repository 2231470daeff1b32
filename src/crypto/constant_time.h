// Comparison of secrets and authenticators without telling, by its time, how much was right.
#pragma once

#include "base/bytes.h"

namespace mayfly {

// Takes the same time wherever the bytes differ; lengths are not secret.
bool EqualInConstantTime(ByteSpan a, ByteSpan b);

}  // namespace mayfly
