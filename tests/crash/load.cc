#include "crash/load.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace mayfly {
namespace {

using Stub = v1::FunctionIo::Stub;

// An RPC of a server that runs takes milliseconds; more than this is a hang.
constexpr std::chrono::seconds kLoadRpcTimeout{30};
constexpr size_t kBatchMax = 12;
// Live calls of one load: what is checked after every kill.
constexpr size_t kLiveCallsMax = 150;
constexpr int kShortTtlMaxS = 3;
// Between this process's reading of the clock and the server's.
constexpr absl::Duration kClockMargin = absl::Milliseconds(250);

constexpr size_t kSmallBytesMax = 2 << 10;
constexpr size_t kInlineBytesMax = 64 << 10;
constexpr size_t kLargeBytesMax = 2560 << 10;  // three segments

void SetDeadline(absl::Time earliest, absl::Time latest, StoredContent* stored) {
  stored->readable_until = earliest - kClockMargin;
  stored->gone_from = latest + kClockMargin;
}

// Deadlines in doubt lie `ttl` after some moment between the sending and now.
void BoundDeadline(std::optional<StoredContent>* stored) {
  if (*stored && (*stored)->gone_from == absl::InfiniteFuture() &&
      (*stored)->readable_until != absl::InfiniteFuture()) {
    (*stored)->gone_from = absl::Now() + absl::Seconds(kShortTtlMaxS) + kClockMargin;
  }
}

}  // namespace

Load::Load(const TestServer& server, uint64_t seed, std::vector<std::unique_ptr<CallModel>> calls,
           const std::atomic<bool>* is_killed, Findings* findings)
    : client_(server.Channel("client")),
      worker_(server.Channel("worker")),
      random_(seed),
      calls_(std::move(calls)),
      is_killed_(is_killed),
      findings_(findings) {}

void Load::Run() {
  bool goes_on = true;
  while (goes_on && !is_killed_->load()) {
    const auto is_live = [](const auto& call) {
      return !call->is_short_lived && call->world().phase == World::Phase::kLive;
    };
    const size_t live = std::count_if(calls_.begin(), calls_.end(), is_live);
    const size_t choice = Random(100);
    if (live < kLiveCallsMax && choice < 30) {
      goes_on = PutNewCalls();
    } else if (choice < 55) {
      goes_on = PutOutputs(/*only_short_lived=*/false);
    } else if (choice < 60) {
      goes_on = RepeatInputs();
    } else if (choice < 95) {
      goes_on = Retrieve();
    } else {
      goes_on = Delete();
    }
  }
}

bool Load::PutNewCalls() {
  const int ttl_s = Random(5) == 0 ? 1 + static_cast<int>(Random(kShortTtlMaxS)) : 0;
  v1::PutInputsRequest request;
  std::vector<Step> steps;
  const size_t count = 1 + Random(kBatchMax);
  for (size_t i = 0; i < count; ++i) {
    calls_.push_back(std::make_unique<CallModel>());
    CallModel* const call = calls_.back().get();
    call->id = NewCallId();
    call->is_short_lived = ttl_s != 0;
    const StoredContent stored = NewStored(*call, /*attempt=*/0, ttl_s);
    auto* item = request.add_items();
    item->set_call_id(call->id);
    item->mutable_payload()->set_data(stored.content.Bytes());
    if (ttl_s != 0) item->mutable_ttl()->set_seconds(ttl_s);
    steps.push_back({call, call->world().WithInput(stored)});
  }
  const auto refine = [](const v1::PutInputResult& result, const CallModel& call, World* after) {
    if (!call.is_short_lived) return;
    const absl::Time deadline = TimeOf(result.deadline_time());
    SetDeadline(deadline, deadline, &*after->input);
  };
  if (!Change(client_.stub(), &Stub::PutInputs, request, std::move(steps), refine)) return false;
  // At once, because they do not live long.
  return ttl_s == 0 || PutOutputs(/*only_short_lived=*/true);
}

bool Load::PutOutputs(bool only_short_lived) {
  const auto picked = Pick(kBatchMax, [&](CallModel& call) {
    return call.is_short_lived == only_short_lived && (!only_short_lived || !call.world().output);
  });
  v1::PutOutputsRequest request;
  std::vector<Step> steps;
  for (CallModel* const call : picked) {
    const uint32_t attempt = call->world().output ? call->world().output->attempt + 1 : 1;
    const int ttl_s = only_short_lived ? 1 + static_cast<int>(Random(kShortTtlMaxS)) : 0;
    const StoredContent stored = NewStored(*call, attempt, ttl_s);
    auto* item = request.add_items();
    item->set_call_id(call->id);
    item->set_attempt(attempt);
    item->mutable_payload()->set_data(stored.content.Bytes());
    if (ttl_s != 0) item->mutable_ttl()->set_seconds(ttl_s);
    steps.push_back({call, call->world().WithOutput(stored)});
  }
  const auto refine = [](const v1::PutOutputResult& result, const CallModel& call, World* after) {
    if (!call.is_short_lived) return;
    const absl::Time deadline = TimeOf(result.deadline_time());
    SetDeadline(deadline, deadline, &*after->output);
  };
  return Change(worker_.stub(), &Stub::PutOutputs, request, std::move(steps), refine);
}

bool Load::RepeatInputs() {
  v1::PutInputsRequest request;
  std::vector<Step> steps;
  for (CallModel* const call : Pick(3, [](CallModel& each) { return !each.is_short_lived; })) {
    auto* item = request.add_items();
    item->set_call_id(call->id);
    item->mutable_payload()->set_data(call->world().input->content.Bytes());
    steps.push_back({call, call->world()});
  }
  return Change(client_.stub(), &Stub::PutInputs, request, std::move(steps),
                [](const v1::PutInputResult&, const CallModel&, World*) {});
}

bool Load::Retrieve() {
  const auto picked =
      Pick(kBatchMax, [](CallModel& call) { return !call.is_short_lived && call.world().output; });
  if (picked.empty()) return true;
  v1::ClaimOutputsRequest request;
  for (const CallModel* const call : picked) request.add_call_ids(call->id);
  request.set_claim_token(NewClaimToken());
  request.set_max_bytes(60 << 20);
  v1::ClaimOutputsResponse response;
  if (!Call(client_.stub(), &Stub::ClaimOutputs, request, &response)) return false;
  if (response.outputs_size() != static_cast<int>(picked.size())) {
    findings_->Report(absl::StrCat("of ", picked.size(), " outputs that are there, ",
                                   response.outputs_size(), " could be claimed"));
    return false;
  }
  for (size_t i = 0; i < picked.size(); ++i) {
    const v1::ClaimedOutput& output = response.outputs(static_cast<int>(i));
    const Look look{.summary = "OK",
                    .data = output.payload().data(),
                    .attempt = output.attempt(),
                    .begun = absl::Now(),
                    .ended = absl::Now()};
    if (output.call_id() == picked[i]->id && AllowsOutput(picked[i]->world(), look)) continue;
    findings_->Report(absl::StrCat("another output was claimed, ", picked[i]->Describe()));
  }
  if (Random(5) == 0) return Release(request.claim_token(), response);
  return Ack(request.claim_token(), response, picked);
}

bool Load::Ack(const std::string& token, const v1::ClaimOutputsResponse& claimed,
               const std::vector<CallModel*>& calls) {
  v1::AckOutputsRequest request;
  std::vector<Step> steps;
  for (size_t i = 0; i < calls.size(); ++i) {
    CallModel* const call = calls[i];
    call->ack_token = token;
    call->ack_fence = claimed.outputs(static_cast<int>(i)).fence();
    auto* item = request.add_items();
    item->set_call_id(call->id);
    item->set_claim_token(call->ack_token);
    item->set_fence(call->ack_fence);
    steps.push_back({call, call->world().Ended(World::Phase::kConsumed)});
  }
  return Change(client_.stub(), &Stub::AckOutputs, request, std::move(steps),
                [](const v1::AckResult& result, const CallModel&, World* after) {
                  after->erased = TimeOf(result.erase_time());
                });
}

bool Load::Release(const std::string& token, const v1::ClaimOutputsResponse& claimed) {
  v1::ReleaseOutputsRequest request;
  for (const v1::ClaimedOutput& output : claimed.outputs()) {
    auto* item = request.add_items();
    item->set_call_id(output.call_id());
    item->set_claim_token(token);
    item->set_fence(output.fence());
  }
  v1::ReleaseOutputsResponse response;
  return Call(client_.stub(), &Stub::ReleaseOutputs, request, &response);
}

bool Load::Delete() {
  v1::DeleteCallsRequest request;
  std::vector<Step> steps;
  for (CallModel* const call : Pick(4, [](CallModel& each) { return !each.is_short_lived; })) {
    request.add_call_ids(call->id);
    steps.push_back({call, call->world().Ended(World::Phase::kDeleted)});
  }
  return Change(client_.stub(), &Stub::DeleteCalls, request, std::move(steps),
                [](const v1::DeleteResult& result, const CallModel&, World* after) {
                  after->erased = TimeOf(result.erase_time());
                });
}

template <typename Request, typename Response>
bool Load::Call(Stub* stub, Rpc<Request, Response> rpc, const Request& request,
                Response* response) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kLoadRpcTimeout);
  const grpc::Status status = (stub->*rpc)(&context, request, response);
  if (!status.ok() && !is_killed_->load()) {
    findings_->Report(absl::StrCat("an RPC failed while the server ran: ", Summary(status)));
  }
  return status.ok();
}

template <typename Request, typename Response, typename Refine>
bool Load::Change(Stub* stub, Rpc<Request, Response> rpc, const Request& request,
                  std::vector<Step> steps, const Refine& refine) {
  if (steps.empty()) return true;
  Response response;
  if (!Call(stub, rpc, request, &response)) {
    for (Step& step : steps) {
      BoundDeadline(&step.after.input);
      BoundDeadline(&step.after.output);
      step.call->Unanswered(step.after);
    }
    unanswered_count_ += steps.size();
    return false;
  }
  for (size_t i = 0; i < steps.size(); ++i) {
    Step& step = steps[i];
    const auto& result = response.results(static_cast<int>(i));
    const std::string summary = Summary(result.status());
    if (summary == "OK") {
      refine(result, *step.call, &step.after);
      step.call->Answered(step.after);
      ++answered_count_;
    } else if (!step.call->is_short_lived || summary != "NOT_FOUND CALL_EXPIRED") {
      findings_->Report(absl::StrCat("the answer was ", summary, ", ", step.call->Describe()));
    }
  }
  return true;
}

std::vector<CallModel*> Load::Pick(size_t count_max,
                                   const std::function<bool(CallModel&)>& wanted) {
  std::vector<CallModel*> picked;
  if (calls_.empty()) return picked;
  const size_t count = 1 + Random(count_max);
  const size_t first = Random(calls_.size());
  for (size_t i = 0; i < calls_.size() && picked.size() < count; ++i) {
    CallModel& call = *calls_[(first + i) % calls_.size()];
    const bool is_live = call.IsSettled() && call.world().phase == World::Phase::kLive;
    if (is_live && wanted(call)) picked.push_back(&call);
  }
  return picked;
}

Content Load::NewContent() {
  const size_t kind = Random(100);
  size_t bytes_max = kSmallBytesMax;
  if (kind >= 90) bytes_max = kInlineBytesMax;
  if (kind >= 97) bytes_max = kLargeBytesMax;
  return {.seed = random_(), .size_bytes = Random(bytes_max)};
}

StoredContent Load::NewStored(const CallModel& call, uint32_t attempt, int ttl_s) {
  StoredContent stored{.content = NewContent(), .attempt = attempt};
  // The other bound follows with the answer, or when there was none.
  if (call.is_short_lived) {
    stored.readable_until = absl::Now() + absl::Seconds(ttl_s) - kClockMargin;
  }
  return stored;
}

}  // namespace mayfly
