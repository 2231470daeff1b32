#include "transfer/cut_round.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/check.h"
#include "support/payload_stream.h"

namespace mayfly {
namespace {

constexpr size_t kSmallCalls = 8;
constexpr uint64_t kSmallBytes = 1 << 10;
constexpr uint64_t kLargeBytes = (2 << 20) + 77'777;  // three segments
// An output that is not taken yet takes part of it.
constexpr uint32_t kWindowItems = 3;

// Longer than anything here takes: such a claim goes by its stream's end or not at all.
constexpr absl::Duration kLongLease = absl::Minutes(5);
// Of a claim that lapses.
constexpr absl::Duration kShortLease = absl::Seconds(1);
constexpr absl::Duration kTimeout = absl::Seconds(60);
constexpr absl::Duration kLook = absl::Milliseconds(20);

}  // namespace

const char* ToString(Traffic traffic) {
  constexpr std::array kNames = {"batches", "stream", "segments"};
  return kNames[static_cast<size_t>(traffic)];
}

const char* ToString(Phase phase) {
  constexpr std::array kNames = {"put input", "get input", "put output", "receive", "ack"};
  return kNames[static_cast<size_t>(phase)];
}

CutRound::CutRound(Setup setup)
    : setup_(std::move(setup)), client_(Connect("client")), worker_(Connect("worker")) {
  const bool is_large = setup_.traffic == Traffic::kSegments;
  for (size_t i = 0; i < (is_large ? 1 : kSmallCalls); ++i) {
    calls_.push_back({.id = client::MintCallId(),
                      .story = setup_.story,
                      .seed = setup_.seed + 2 * i,
                      .size_bytes = is_large ? kLargeBytes : kSmallBytes});
  }
  MutexLock lock(&acks_->mutex);
  acks_->statuses.resize(calls_.size(), absl::UnknownError("not answered"));
}

CutRound::~CutRound() = default;

client::Client CutRound::Connect(const std::string& who) const {
  const std::string stem = absl::StrCat(setup_.certificates, "/", who);
  auto connected =
      client::Client::Connect({.target = absl::StrCat("localhost:", setup_.proxy->port()),
                               .ca_file = setup_.certificates + "/ca.pem",
                               .certificate_file = stem + ".pem",
                               .key_file = stem + ".key",
                               .timeout = kTimeout,
                               .retry = {.attempts_max = setup_.is_patient ? 100 : 1,
                                         .delay_min = absl::Milliseconds(5),
                                         .delay_max = absl::Milliseconds(100)},
                               // All segments on one connection, so that fewer of them are made.
                               .large_channels = 1});
  Check(connected.ok(), "a client can be made");
  return *std::move(connected);
}

std::vector<std::string> CutRound::Ids() const {
  std::vector<std::string> ids;
  for (const CutCall& call : calls_) ids.push_back(call.id);
  return ids;
}

std::string CutRound::InputOf(const CutCall& call) const {
  return Pattern(call.seed, call.size_bytes);
}

std::string CutRound::OutputOf(const CutCall& call) const {
  return Pattern(call.seed + 1, call.size_bytes);
}

CutCall* CutRound::Find(const std::string& id) {
  for (CutCall& call : calls_) {
    if (call.id == id) return &call;
  }
  Check(false, "only calls of the round are told of");
  return nullptr;
}

bool CutRound::Went(const absl::Status& status, const char* step) {
  if (status.ok()) return true;
  if (setup_.is_patient) {
    setup_.findings->Report(
        absl::StrCat(setup_.story, ": ", step, ": the client gave up: ", status.ToString()));
  }
  for (CutCall& call : calls_) absl::StrAppend(&call.story, ", ", step, ": ", status.ToString());
  return false;
}

bool CutRound::ExpectPayload(bool is_equal, const char* what) {
  if (!is_equal) {
    setup_.findings->Report(absl::StrCat(setup_.story, ": the ", what, " is not what was put"));
  }
  return is_equal;
}

void CutRound::Deliver(CutCall* call, const std::string& data) {
  ++call->delivered_count;
  ExpectPayload(data == OutputOf(*call), "output");
  if (call->delivered_count == 1) return;
  setup_.findings->Report(
      absl::StrCat(setup_.story, ": an output was delivered ", call->delivered_count, " times"));
}

void CutRound::Run() {
  switch (setup_.traffic) {
    case Traffic::kBatches:
      return RunBatches();
    case Traffic::kStream:
      return RunStream();
    case Traffic::kSegments:
      return RunSegments();
  }
}

std::vector<CutCall> CutRound::Calls() const {
  std::vector<CutCall> calls = calls_;
  MutexLock lock(&acks_->mutex);
  for (size_t i = 0; i < calls.size(); ++i) {
    if (acks_->statuses[i].ok()) calls[i].is_acked = true;
  }
  return calls;
}

// ---- Batches

bool CutRound::PutInputs() {
  setup_.on_phase(Phase::kPutInput);
  std::vector<client::Input> inputs;
  for (const CutCall& call : calls_) {
    inputs.push_back({.call_id = call.id, .payload = {.data = InputOf(call)}});
  }
  const auto results = client_.PutInputs(std::move(inputs));
  bool goes_on = true;
  for (size_t i = 0; i < calls_.size(); ++i) {
    calls_[i].is_input_stored = results[i].ok();
    if (!Went(results[i].status(), "PutInputs")) goes_on = false;
  }
  return goes_on;
}

bool CutRound::PutOutputs() {
  std::vector<client::Output> outputs;
  for (const CutCall& call : calls_) {
    outputs.push_back({.call_id = call.id, .payload = {.data = OutputOf(call)}});
  }
  const auto results = worker_.PutOutputs(std::move(outputs));
  bool goes_on = true;
  for (size_t i = 0; i < calls_.size(); ++i) {
    calls_[i].is_output_stored = results[i].ok();
    if (!Went(results[i].status(), "PutOutputs")) goes_on = false;
  }
  return goes_on;
}

void CutRound::RunBatches() {
  if (!PutInputs()) return;
  setup_.on_phase(Phase::kGetInput);
  const auto inputs = worker_.GetInputs(Ids());
  for (size_t i = 0; i < calls_.size(); ++i) {
    if (!Went(inputs[i].status(), "GetInputs")) return;
    ExpectPayload(inputs[i]->payload.data == InputOf(calls_[i]), "input");
  }
  setup_.on_phase(Phase::kPutOutput);
  if (!PutOutputs()) return;

  setup_.on_phase(Phase::kReceive);
  const auto claimed = client_.ClaimOutputs(
      Ids(), {.wait = kTimeout, .lease = setup_.is_patient ? kLongLease : kShortLease});
  if (!Went(claimed.status(), "ClaimOutputs")) return;
  if (claimed->outputs.size() != calls_.size()) {
    setup_.findings->Report(absl::StrCat(setup_.story, ": of ", calls_.size(),
                                         " outputs that are there, ", claimed->outputs.size(),
                                         " could be claimed"));
  }
  std::vector<client::Claim> claims;
  for (const client::ClaimedOutput& output : claimed->outputs) {
    CutCall* const call = Find(output.claim.call_id);
    Deliver(call, output.payload.data);
    call->was_ack_tried = true;
    claims.push_back(output.claim);
  }
  setup_.on_phase(Phase::kAck);
  const auto acks = client_.AckOutputs(claims);
  for (size_t i = 0; i < acks.size(); ++i) {
    Find(claims[i].call_id)->is_acked = acks[i].ok();
    Went(acks[i].status(), "AckOutputs");
  }
}

// ---- Stream

void CutRound::RunStream() {
  if (!PutInputs()) return;
  // Before the outputs are there, so that they are pushed one by one.
  setup_.on_phase(Phase::kReceive);
  const client::Cancellation killed;
  client::OutputStream stream = client_.StreamOutputs(
      {.window_items = kWindowItems, .lease = kLongLease, .cancellation = killed});
  stream.Subscribe(Ids());
  std::vector<client::Claim> unacked;
  if (PutOutputs() && ReceiveOnStream(&stream, &unacked)) {
    setup_.on_phase(Phase::kAck);
    for (const client::Claim& claim : unacked) AckOnStream(&stream, claim);
    if (Went(stream.Flush(kTimeout), "Flush")) return;
  }
  killed.Cancel();
}

// Every second one is acknowledged while others still come.
bool CutRound::ReceiveOnStream(client::OutputStream* stream, std::vector<client::Claim>* unacked) {
  const absl::Time end = absl::Now() + kTimeout;
  for (size_t count = 0; count < calls_.size();) {
    auto event = stream->Next(kLook);
    if (absl::IsDeadlineExceeded(event.status()) && absl::Now() < end) {
      // The stream goes on by itself; an impatient pair does not see that any more.
      if (!setup_.is_patient && !setup_.proxy->IsCutPlanned()) return false;
      continue;
    }
    if (!Went(event.status(), "Next") || !Went(event->output.status(), "the event")) return false;
    const client::ClaimedOutput& output = *event->output;
    Deliver(Find(event->call_id), output.payload.data);
    if (count++ % 2 == 0) {
      AckOnStream(stream, output.claim);
    } else {
      unacked->push_back(output.claim);
    }
  }
  return true;
}

void CutRound::AckOnStream(client::OutputStream* stream, const client::Claim& claim) {
  CutCall* const call = Find(claim.call_id);
  call->was_ack_tried = true;
  const size_t index = static_cast<size_t>(call - calls_.data());
  Findings* const findings = setup_.is_patient ? setup_.findings : nullptr;
  stream->Ack(claim, [acks = acks_, story = setup_.story, index,
                      findings](const absl::StatusOr<absl::Time>& result) {
    MutexLock lock(&acks->mutex);
    acks->statuses[index] = result.status();
    if (result.ok() || findings == nullptr) return;
    findings->Report(absl::StrCat(story, ": an ack failed: ", result.status().ToString()));
  });
}

// ---- Segments

void CutRound::RunSegments() {
  if (UploadInput() && DownloadInput() && UploadOutput()) Retrieve();
}

bool CutRound::UploadInput() {
  setup_.on_phase(Phase::kPutInput);
  CutCall& call = calls_[0];
  PatternSource source(call.seed, call.size_bytes);
  const auto stored = client_.UploadInput({.call_id = call.id}, &source);
  call.is_input_stored = stored.ok();
  return Went(stored.status(), "UploadInput");
}

bool CutRound::DownloadInput() {
  setup_.on_phase(Phase::kGetInput);
  const CutCall& call = calls_[0];
  HashingSink sink;
  if (!Went(worker_.DownloadInput(call.id, &sink).status(), "DownloadInput")) return false;
  return ExpectPayload(sink.digest() == PatternDigest(call.seed, call.size_bytes), "input");
}

bool CutRound::UploadOutput() {
  setup_.on_phase(Phase::kPutOutput);
  CutCall& call = calls_[0];
  PatternSource source(call.seed + 1, call.size_bytes);
  const auto stored = worker_.UploadOutput({.call_id = call.id}, &source);
  call.is_output_stored = stored.ok();
  return Went(stored.status(), "UploadOutput");
}

void CutRound::Retrieve() {
  setup_.on_phase(Phase::kReceive);
  CutCall& call = calls_[0];
  HashingSink sink;
  sink.on_finish = [&] {
    call.was_ack_tried = true;
    setup_.on_phase(Phase::kAck);
  };
  // The default lease is that of the client's stream, whose end releases the claim.
  const auto retrieved = client_.RetrieveInto(call.id, &sink, {.wait = kTimeout});
  call.delivered_count = sink.finish_count();
  call.is_acked = retrieved.ok();
  if (call.delivered_count > 0) {
    ExpectPayload(sink.digest() == PatternDigest(call.seed + 1, call.size_bytes), "output");
  }
  if (call.delivered_count > 1) {
    setup_.findings->Report(
        absl::StrCat(setup_.story, ": an output was delivered ", call.delivered_count, " times"));
  }
  Went(retrieved.status(), "RetrieveInto");
}

}  // namespace mayfly
