#include "client/status.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"

#include "base/error.h"
#include "client/convert.h"
#include "mayfly/v1/error_reason.pb.h"

namespace mayfly::client {
namespace {

constexpr char kDomain[] = "mayfly";
// All that gRPC 1.51 says of a channel whose credentials it could not use.
constexpr char kNoChannel[] = "empty address list: ";
constexpr char kUnusableCredentials[] =
    "no connection can be made with these credentials: certificate, key and CA must be PEM, and "
    "the key must be the certificate's";

// Empty if there is none of ours.
google::rpc::ErrorInfo ErrorInfoOf(const google::rpc::Status& status) {
  google::rpc::ErrorInfo info;
  for (const google::protobuf::Any& detail : status.details()) {
    if (!detail.Is<google::rpc::ErrorInfo>() || !detail.UnpackTo(&info)) continue;
    if (info.domain() == kDomain) return info;
  }
  return {};
}

Reason ReasonFromProto(const google::rpc::ErrorInfo& info) {
  v1::ErrorReason reason;
  return v1::ErrorReason_Parse("ERROR_REASON_" + info.reason(), &reason)
             ? static_cast<Reason>(reason)
             : Reason::kUnspecified;
}

absl::Duration RetryDelayFromProto(const google::rpc::Status& status) {
  google::rpc::RetryInfo info;
  for (const google::protobuf::Any& detail : status.details()) {
    if (detail.Is<google::rpc::RetryInfo>() && detail.UnpackTo(&info)) {
      return FromProto(info.retry_delay());
    }
  }
  return absl::ZeroDuration();
}

absl::Status WithDetails(int code, const std::string& message, const google::rpc::Status& details) {
  const auto absl_code = static_cast<absl::StatusCode>(code);
  const google::rpc::ErrorInfo info = ErrorInfoOf(details);
  const Reason reason = ReasonFromProto(info);
  absl::Status status = reason == Reason::kUnspecified ? absl::Status(absl_code, message)
                                                       : MakeError(absl_code, reason, message);
  for (const auto& [key, value] : info.metadata()) {
    status = WithMetadata(std::move(status), key, value);
  }
  const absl::Duration delay = RetryDelayFromProto(details);
  return delay > absl::ZeroDuration() ? WithRetryDelay(std::move(status), delay) : status;
}

}  // namespace

absl::Status StatusFromProto(const google::rpc::Status& status) {
  if (status.code() == 0) return absl::OkStatus();
  return WithDetails(status.code(), status.message(), status);
}

absl::Status StatusFromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  // gRPC says UNAVAILABLE, but a retry does not help: the credentials are read once.
  if (status.error_message() == kNoChannel) {
    return absl::UnauthenticatedError(kUnusableCredentials);
  }
  google::rpc::Status details;
  // Code and text are used even if the details are missing or of another kind.
  if (!details.ParseFromString(status.error_details())) details.Clear();
  return WithDetails(status.error_code(), status.error_message(), details);
}

}  // namespace mayfly::client
