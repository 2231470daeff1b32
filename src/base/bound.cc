#include "base/bound.h"

#include <utility>

#include "base/error.h"

namespace mayfly {

absl::Status WithBound(absl::Status error, const CrossedBound& bound) {
  error = WithMetadata(std::move(error), "value", bound.value);
  error = WithMetadata(std::move(error), "limit", bound.limit);
  return WithMetadata(std::move(error), "unit", bound.unit);
}

}  // namespace mayfly
