// Comparison of secrets and authenticators. Its duration does not reveal how many bytes match.
#pragma once

#include "base/bytes.h"

namespace mayfly {

// The duration does not depend on where the bytes differ. Lengths are not secret.
bool EqualInConstantTime(ByteSpan a, ByteSpan b);

}  // namespace mayfly
