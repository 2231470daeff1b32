// The frames of a session (SessionRequest and SessionResponse of function_io.proto) on the wire.
//
// Requests and responses come from Python serialized, and go back so; only what is around them is
// written and read here. The library of Protobuf is not used: a program's Python messages are in a
// pool of descriptors that its C++ messages would share, and both have the same names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"

namespace mayfly::python {

// The numbers of the requests in NumberedRequest; a response has the next one in NumberedResponse.
inline constexpr int kReleaseOutputs = 6;
inline constexpr int kClaimOutputs = 10;

// Adds one request to a SessionRequest.
void AppendRequest(uint64_t number, int method, absl::string_view request, std::string* frame);

// One response of a SessionResponse, which it refers to.
struct NumberedAnswer {
  uint64_t number = 0;
  int code = 0;                // of `status`
  absl::string_view status;    // a google.rpc.Status; empty when it is OK
  absl::string_view response;  // the serialized message
};

// False when `frame` is no SessionResponse; `take` may have been called by then.
bool ReadAnswers(absl::string_view frame, absl::FunctionRef<void(const NumberedAnswer&)> take);

// A ReleaseOutputsRequest of all that a ClaimOutputsRequest has claimed; empty when that is nothing.
std::string ReleaseOf(absl::string_view claim_request, absl::string_view claim_response);

}  // namespace mayfly::python
