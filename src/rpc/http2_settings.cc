#include "rpc/http2_settings.h"

#include <algorithm>
#include <dlfcn.h>

#include <grpcpp/version_info.h>

// The table is internal to gRPC. For another version, compare it with that version's
// http2_settings.h and check whether it is still needed.
static_assert(GRPC_CPP_VERSION_MAJOR == 1 && GRPC_CPP_VERSION_MINOR == 51,
              "grpc_chttp2_settings_parameters is known of gRPC 1.51 only");

// gRPC's names, types and values.
struct grpc_chttp2_setting_parameters {
  const char* name;
  uint32_t default_value;
  uint32_t min_value;
  uint32_t max_value;
  int invalid_value_behavior;  // 0 uses the nearest valid value, 1 ends the connection
  uint32_t error_value;        // RFC 9113, section 7
};

__attribute__((visibility("default")))
grpc_chttp2_setting_parameters grpc_chttp2_settings_parameters[7] = {
    {"HEADER_TABLE_SIZE", 4096, 0, UINT32_MAX, 0, 1},
    {"ENABLE_PUSH", 1, 0, 1, 1, 1},
    {"MAX_CONCURRENT_STREAMS", UINT32_MAX, 0, UINT32_MAX, 1, 1},
    {"INITIAL_WINDOW_SIZE", 65535, 0, INT32_MAX, 1, 3},
    {"MAX_FRAME_SIZE", 16384, 16384, 16777215, 1, 1},
    {"MAX_HEADER_LIST_SIZE", 16 << 20, 0, 16 << 20, 0, 1},
    {"GRPC_ALLOW_TRUE_BINARY_METADATA", 0, 0, 1, 0, 1},
};

namespace mayfly {
namespace {

constexpr int kMaxConcurrentStreams = 2;
constexpr int kMaxHeaderListSize = 5;
// Clients may open this many before they have seen the server's settings (RFC 9113, section 6.5.2,
// recommends no fewer).
constexpr uint64_t kStreamsMin = 100;

}  // namespace

absl::Status SetHttp2Defaults(uint64_t metadata_bytes_max, uint64_t streams_max) {
  if (dlsym(RTLD_DEFAULT, "grpc_chttp2_settings_parameters") != grpc_chttp2_settings_parameters) {
    return absl::FailedPreconditionError("gRPC's HTTP/2 defaults cannot be set in this build");
  }
  // One more than the announced value: gRPC does not announce a value that equals the default.
  grpc_chttp2_settings_parameters[kMaxHeaderListSize].default_value =
      static_cast<uint32_t>(metadata_bytes_max + 1);
  grpc_chttp2_settings_parameters[kMaxConcurrentStreams].default_value =
      static_cast<uint32_t>(std::max(streams_max, kStreamsMin) + 1);
  return absl::OkStatus();
}

}  // namespace mayfly
