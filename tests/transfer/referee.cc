#include "transfer/referee.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "support/payload_stream.h"
#include "transfer/transfer_client.h"

namespace mayfly {
namespace {

// What is released is there at once, but for the time that a busy machine takes. Less than the default
// lease, or a claim that lapses would look like one that was released.
constexpr absl::Duration kReleaseTimeout = absl::Seconds(20);
constexpr absl::Duration kLapseTimeout = absl::Seconds(60);
constexpr absl::Duration kSweepTimeout = absl::Seconds(60);
constexpr absl::Duration kPoll = absl::Milliseconds(50);

constexpr char kAccepted[] = "INVALID_ARGUMENT FIELD_INVALID";  // it had no finish
constexpr char kQuotaBytes[] = "RESOURCE_EXHAUSTED QUOTA_BYTES";
constexpr char kQuotaUploads[] = "RESOURCE_EXHAUSTED QUOTA_UPLOADS";
constexpr char kQuotaCalls[] = "RESOURCE_EXHAUSTED QUOTA_CALLS";

}  // namespace

std::string Referee::Settings() {
  return absl::StrCat(
      "[limits]\nupload_idle_timeout = \"2s\"\nlive_calls_max = ", RefereeLimits::kLiveCalls,
      "\nlive_bytes_max = ", RefereeLimits::kLiveBytes, "\nuploads_max = ", RefereeLimits::kUploads,
      "\n[claims]\noutstanding_max = ", RefereeLimits::kClaims, "\n");
}

Referee::Referee(const TestServer& server, Findings* findings)
    : client_(ConnectClient(server, "client")),
      worker_(ConnectClient(server, "worker")),
      raw_client_(server.Channel("client")),
      raw_worker_(server.Channel("worker")),
      findings_(findings) {}

void Referee::Expect(bool is_true, const std::string& what) {
  if (!is_true) findings_->Report(what);
}

client::CallState Referee::StateOf(const CutCall& call) {
  const auto description = client_.DescribeCall(call.id);
  Expect(description.ok(),
         absl::StrCat("a call cannot be described: ", std::string(description.status().message())));
  return description.ok() ? description->state : client::CallState::kUnknown;
}

void Referee::Settle(const CutCall& call, bool is_released) {
  const client::CallState state = StateOf(call);
  const std::string told = absl::StrCat(call.story, ": the call is ", client::ToString(state));
  switch (state) {
    case client::CallState::kUnknown:
      Expect(!call.is_input_stored, told + ", its input was answered OK");
      return ExpectEnded(call, Reason::kCallUnknown);
    case client::CallState::kPending:
      Expect(!call.is_output_stored, told + ", its output was answered OK");
      Finish(call);
      break;
    case client::CallState::kReady:
    case client::CallState::kClaimed:
      Expect(!call.is_acked, told + ", its ack was answered OK");
      break;
    case client::CallState::kConsumed:
      Expect(call.was_ack_tried, told + ", nobody has acknowledged it");
      return ExpectEnded(call, Reason::kOutputConsumed);
    default:
      return Expect(false, told);
  }
  Retrieve(call, is_released);
  Expect(StateOf(call) == client::CallState::kConsumed, absl::StrCat(told, " after its ack"));
  ExpectEnded(call, Reason::kOutputConsumed);
}

// A worker that comes after the first.
void Referee::Finish(const CutCall& call) {
  HashingSink input;
  const auto got = worker_.DownloadInput(call.id, &input);
  Expect(got.ok() && input.digest() == PatternDigest(call.seed, call.size_bytes),
         absl::StrCat(call.story, ": the input is not there as it was put"));
  PatternSource output(call.seed + 1, call.size_bytes);
  const auto put = worker_.UploadOutput({.call_id = call.id}, &output);
  Expect(put.ok(),
         absl::StrCat(call.story, ": the output cannot be put: ", put.status().ToString()));
}

void Referee::Retrieve(const CutCall& call, bool is_released) {
  HashingSink output;
  const auto retrieved = client_.RetrieveInto(
      call.id, &output, {.wait = is_released ? kReleaseTimeout : kLapseTimeout});
  // An ack that was tried may have been on its way still when the state was asked for.
  const bool is_consumed = ReasonOf(retrieved.status()) == Reason::kOutputConsumed;
  if (call.was_ack_tried && is_consumed) return;
  Expect(retrieved.ok(), absl::StrCat(call.story, ": the output cannot be retrieved: ",
                                      retrieved.status().ToString()));
  Expect(!retrieved.ok() || output.digest() == PatternDigest(call.seed + 1, call.size_bytes),
         absl::StrCat(call.story, ": the output is not there as it was put"));
}

void Referee::ExpectEnded(const CutCall& call, Reason reason) {
  const auto claimed = client_.ClaimOutputs({call.id}, {.claim_larger = true});
  const bool is_so = claimed.ok() && claimed->outputs.empty() && claimed->errors.size() == 1 &&
                     ReasonOf(claimed->errors[0].status) == reason;
  Expect(is_so, absl::StrCat(call.story, ": the call has ended and is not told to be so: ",
                             claimed.ok() && claimed->errors.size() == 1
                                 ? claimed->errors[0].status.ToString()
                                 : claimed.status().ToString()));
}

// ---- What is left

std::string Referee::AnnounceUpload(const std::string& call_id, uint64_t size_bytes) {
  grpc::ClientContext context;
  v1::UploadResponse response;
  const auto stream = raw_worker_.stub()->Upload(&context, &response);
  v1::UploadRequest request;
  v1::UploadHeader* const header = request.mutable_header();
  header->set_upload_id(NewClaimToken());
  header->mutable_output()->set_call_id(call_id);
  header->set_size_bytes(size_bytes);
  stream->Write(request);
  stream->WritesDone();
  return Summary(stream->Finish());
}

void Referee::ExpectSwept() {
  const std::string call_id = NewCallId();
  Expect(raw_client_.PutInput(call_id, "i") == "OK", "an input cannot be put");
  const absl::Time end = absl::Now() + kSweepTimeout;
  std::string answer;
  while ((answer = AnnounceUpload(call_id, RefereeLimits::kLiveBytes - 1)) == kQuotaBytes &&
         absl::Now() < end) {
    absl::SleepFor(kPoll);
  }
  Expect(answer == kAccepted,
         absl::StrCat("bytes are counted that nobody has any more: ", answer, " after the sweep"));
  Expect(raw_client_.Delete(call_id) == "OK", "a call cannot be deleted");
}

void Referee::ExpectAllCountersAtZero() {
  ExpectCallsCounted();
  ExpectBytesCounted();
  ExpectUploadsCounted();
  ExpectClaimsCounted();
}

std::vector<std::string> Referee::PutInputs(int count) {
  std::vector<std::string> ids;
  std::vector<client::Input> inputs;
  for (int i = 0; i < count; ++i) {
    ids.push_back(client::MintCallId());
    inputs.push_back({.call_id = ids.back(), .payload = {.data = "i"}});
  }
  // A call that was deleted takes its uploads along, but not before the answer.
  const absl::Time end = absl::Now() + kReleaseTimeout;
  absl::Status refused;
  do {
    refused = absl::OkStatus();
    for (const auto& result : client_.PutInputs(inputs)) refused.Update(result.status());
  } while (!refused.ok() && absl::Now() < end);
  Expect(refused.ok(),
         absl::StrCat("calls or bytes are counted that nobody has any more: ", refused.ToString()));
  return ids;
}

void Referee::ExpectCallsCounted() {
  const std::vector<std::string> ids = PutInputs(RefereeLimits::kLiveCalls);
  Expect(raw_client_.PutInput(NewCallId(), "i") == kQuotaCalls, "not all calls are counted");
  for (const auto& result : client_.DeleteCalls(ids)) {
    Expect(result.ok(), absl::StrCat("a call cannot be deleted: ", result.status().ToString()));
  }
}

void Referee::ExpectBytesCounted() {
  const std::string call_id = PutInputs(1).front();
  Expect(AnnounceUpload(call_id, RefereeLimits::kLiveBytes) == kQuotaBytes,
         "not all bytes are counted");
  Expect(AnnounceUpload(call_id, RefereeLimits::kLiveBytes - 1) == kAccepted,
         "bytes are counted that nobody has any more");
  Expect(AnnounceUpload(call_id, 1) == kQuotaBytes, "not all bytes of uploads are counted");
  Expect(raw_client_.Delete(call_id) == "OK", "a call cannot be deleted");
}

void Referee::ExpectUploadsCounted() {
  const std::string call_id = PutInputs(1).front();
  for (int i = 0; i < RefereeLimits::kUploads; ++i) {
    const std::string answer = AnnounceUpload(call_id, 1);
    Expect(answer == kAccepted, "uploads are counted that nobody has any more: " + answer);
  }
  Expect(AnnounceUpload(call_id, 1) == kQuotaUploads, "not all uploads are counted");
  Expect(raw_client_.Delete(call_id) == "OK", "a call cannot be deleted");
}

void Referee::ExpectClaimsCounted() {
  std::vector<std::string> ids = PutInputs(RefereeLimits::kClaims + 1);
  std::vector<client::Output> outputs;
  for (const std::string& id : ids) outputs.push_back({.call_id = id, .payload = {.data = "o"}});
  worker_.PutOutputs(std::move(outputs));
  const auto claimed = client_.ClaimOutputs(ids);
  Expect(claimed.ok(), "outputs cannot be claimed");
  const size_t count = claimed.ok() ? claimed->outputs.size() : 0;
  Expect(count == static_cast<size_t>(RefereeLimits::kClaims),
         absl::StrCat(count, " outputs could be claimed, limit is ", RefereeLimits::kClaims));
  for (const auto& result : client_.DeleteCalls(ids)) {
    Expect(result.ok(), absl::StrCat("a call cannot be deleted: ", result.status().ToString()));
  }
}

}  // namespace mayfly
