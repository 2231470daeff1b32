// Requests carries out the requests of the batch RPCs, whether they came by an RPC of their own or on
// a session: it validates every item, passes the valid ones to the store, and writes a result for
// each, in the order of the request.
//
// A request runs on the thread that received it until the store takes over, sealing included; that
// thread never waits for a disk. It is not used any more when the method returns. `response` is
// written until `done`, which is called once, on any thread and perhaps before the method returns, with
// the status of the whole: CANCELLED for a claim that was cancelled. Thread-safe.
#pragma once

#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

#include "config/config.h"
#include "mayfly/v1/function_io.pb.h"
#include "rpc/admission.h"
#include "rpc/log.h"
#include "rpc/valid_items.h"
#include "rpc/validation.h"
#include "store/call_store.h"

namespace mayfly {

// How many items a request has.
inline ItemCount CountOf(const v1::ClaimOutputsRequest& request) {
  return {.field = "call_ids",
          .count = request.call_ids_size(),
          .extra_field = "acks",
          .extra_count = request.acks_size()};
}
template <typename Request>
ItemCount CountOf(const Request& request) {
  if constexpr (requires { request.items_size(); }) {
    return {.field = "items", .count = request.items_size()};
  } else {
    return {.field = "call_ids", .count = request.call_ids_size()};
  }
}

class Requests {
 public:
  using Done = absl::AnyInvocable<void(const absl::Status&)>;
  // For whom, as Admission has found.
  struct Caller {
    CallStore* store = nullptr;
    Tenant* tenant = nullptr;
    PayloadTaker* taker = nullptr;  // set for requests that return payloads
    bool may_wait = true;           // for outputs that are not there yet
  };
  template <typename Request, typename Response>
  using Method = std::shared_ptr<ClaimHandle> (Requests::*)(const Caller& caller,
                                                            const Request& request,
                                                            Response* response, Done done) const;

  // Both must outlive this object.
  Requests(const Config& config, Log* log) : config_(config), log_(log) {}

  // The handle is that of a claim, otherwise null.
  std::shared_ptr<ClaimHandle> PutInputs(const Caller& caller, const v1::PutInputsRequest& request,
                                         v1::PutInputsResponse* response, Done done) const;
  std::shared_ptr<ClaimHandle> GetInputs(const Caller& caller, const v1::GetInputsRequest& request,
                                         v1::GetInputsResponse* response, Done done) const;
  std::shared_ptr<ClaimHandle> PutOutputs(const Caller& caller,
                                          const v1::PutOutputsRequest& request,
                                          v1::PutOutputsResponse* response, Done done) const;
  std::shared_ptr<ClaimHandle> ClaimOutputs(const Caller& caller,
                                            const v1::ClaimOutputsRequest& request,
                                            v1::ClaimOutputsResponse* response, Done done) const;
  std::shared_ptr<ClaimHandle> AckOutputs(const Caller& caller,
                                          const v1::AckOutputsRequest& request,
                                          v1::AckOutputsResponse* response, Done done) const;
  std::shared_ptr<ClaimHandle> ReleaseOutputs(const Caller& caller,
                                              const v1::ReleaseOutputsRequest& request,
                                              v1::ReleaseOutputsResponse* response,
                                              Done done) const;
  std::shared_ptr<ClaimHandle> RenewClaims(const Caller& caller,
                                           const v1::RenewClaimsRequest& request,
                                           v1::RenewClaimsResponse* response, Done done) const;
  std::shared_ptr<ClaimHandle> DescribeCalls(const Caller& caller,
                                             const v1::DescribeCallsRequest& request,
                                             v1::DescribeCallsResponse* response, Done done) const;
  std::shared_ptr<ClaimHandle> DeleteCalls(const Caller& caller,
                                           const v1::DeleteCallsRequest& request,
                                           v1::DeleteCallsResponse* response, Done done) const;

 private:
  // Passes the valid items to `submit(values, on_answers)`.
  template <typename Value, typename Result, typename Submit>
  void SubmitItems(ValidItems<Value, Result> valid, Done done, Submit submit) const;

  const Config& config_;
  Log* const log_;
};

}  // namespace mayfly
