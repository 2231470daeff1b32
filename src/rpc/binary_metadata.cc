#include "rpc/binary_metadata.h"

#include <cstdint>
#include <dlfcn.h>
#include <vector>

#include "absl/types/optional.h"
#include <grpcpp/version_info.h>

static_assert(GRPC_CPP_VERSION_MAJOR == 1 && GRPC_CPP_VERSION_MINOR == 51,
              "HPackParser::String::Unbase64Loop is known of gRPC 1.51 only");

namespace grpc_core {

// Declares only the part of gRPC's class that names the function.
class HPackParser {
 public:
  class String {
   public:
    static absl::optional<std::vector<uint8_t>> Unbase64Loop(const uint8_t* begin,
                                                             const uint8_t* end);
  };
};

namespace {

using Unbase64 = decltype(&HPackParser::String::Unbase64Loop);

constexpr char kSymbol[] = "_ZN9grpc_core11HPackParser6String12Unbase64LoopEPKhS3_";

Unbase64 GrpcsUnbase64() {
  static const auto unbase64 = reinterpret_cast<Unbase64>(dlsym(RTLD_NEXT, kSymbol));
  return unbase64;
}

}  // namespace

__attribute__((visibility("default"))) absl::optional<std::vector<uint8_t>>
HPackParser::String::Unbase64Loop(const uint8_t* begin, const uint8_t* end) {
  absl::optional<std::vector<uint8_t>> decoded = GrpcsUnbase64()(begin, end);
  if (!decoded.has_value()) decoded.emplace(begin, end);
  return decoded;
}

}  // namespace grpc_core

namespace mayfly {

absl::Status TolerateMalformedBinaryMetadata() {
  void* const ours = reinterpret_cast<void*>(&grpc_core::HPackParser::String::Unbase64Loop);
  if (grpc_core::GrpcsUnbase64() == nullptr || dlsym(RTLD_DEFAULT, grpc_core::kSymbol) != ours) {
    return absl::FailedPreconditionError(
        "gRPC's decoding of binary headers cannot be replaced in this build");
  }
  return absl::OkStatus();
}

}  // namespace mayfly
