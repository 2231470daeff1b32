#include "rpc/status.h"

#include <string>

#include "google/rpc/error_details.pb.h"

#include "base/error.h"

namespace mayfly {
namespace {

constexpr char kDomain[] = "mayfly";

std::string Text(absl::string_view text) { return std::string(text.data(), text.size()); }

absl::Status Publishable(const absl::Status& status, Log* log) {
  if (status.ok() || ReasonOf(status) != Reason::kUnspecified) return status;
  log->Write(Config::LogLevel::kError, "an RPC failed with an internal error",
             {{"error", absl::string_view(status.ToString())}});
  return MakeError(absl::StatusCode::kUnavailable, Reason::kStorageDown,
                   "internal error, the server's log has the reason");
}

// A delay of zero means none.
void AddRetryInfo(absl::Duration delay, google::rpc::Status* wire) {
  if (delay <= absl::ZeroDuration()) return;
  google::rpc::RetryInfo retry;
  const int64_t seconds = absl::IDivDuration(delay, absl::Seconds(1), &delay);
  retry.mutable_retry_delay()->set_seconds(seconds);
  retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(delay)));
  wire->add_details()->PackFrom(retry);
}

google::rpc::Status Encode(const absl::Status& status) {
  google::rpc::Status wire;
  if (status.ok()) return wire;
  wire.set_code(static_cast<int>(status.code()));
  wire.set_message(Text(status.message()));
  google::rpc::ErrorInfo info;
  info.set_domain(kDomain);
  info.set_reason(Text(ReasonName(ReasonOf(status))));
  for (const auto& [key, value] : MetadataOf(status)) (*info.mutable_metadata())[key] = value;
  wire.add_details()->PackFrom(info);
  AddRetryInfo(RetryDelayOf(status), &wire);
  return wire;
}

}  // namespace

google::rpc::Status ToWireStatus(const absl::Status& status, Log* log) {
  return Encode(Publishable(status, log));
}

grpc::Status ToGrpcStatus(const absl::Status& status, Log* log) {
  if (status.ok()) return grpc::Status::OK;
  const google::rpc::Status wire = Encode(Publishable(status, log));
  return grpc::Status(static_cast<grpc::StatusCode>(wire.code()), wire.message(),
                      wire.SerializeAsString());
}

}  // namespace mayfly
