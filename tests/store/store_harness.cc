#include "store/store_harness.h"

#include <utility>

#include <sys/stat.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "storage/local/local_storage.h"

namespace mayfly {

ClaimToken MakeToken(uint64_t number) {
  ClaimToken token{};
  StoreBigEndian(token.data() + 8, number);
  return token;
}

NewPayload MakePayload(absl::string_view data) {
  NewPayload payload{.data = data, .metadata = {}};
  payload.metadata.crc32c = Crc32c(AsBytes(data));
  return payload;
}

StoreHarness::StoreHarness() {
  config.storage.data_dir = data_dir();
  config.storage.disk_reserve_bytes = 0;
  config.storage.allow_unsafe_filesystem = true;
  config.server.worker_threads = 2;
  mkdir(data_dir().c_str(), 0700);
}

StoreHarness::~StoreHarness() { Close(); }

absl::Status StoreHarness::TryOpen() {
  LocalStorageOptions options;
  options.data_dir = data_dir();
  options.root_key = SecretBytes(AsBytes(RootKey()));
  options.now_ms = absl::ToUnixMillis(clock.Read().wall);
  options.memtable_bytes = 64 << 20;
  options.index_calls_max = config.storage.index_calls_max;
  options.disk_reserve_bytes = config.storage.disk_reserve_bytes;
  options.allow_unsafe_filesystem = config.storage.allow_unsafe_filesystem;
  options.log = [](StorageLogLevel, absl::string_view) {};
  options.file_system = file_system;
  options.rocksdb_file_system = rocksdb_file_system;
  auto storage = LocalStorage::Open(std::move(options));
  RETURN_IF_ERROR(storage.status());
  has_failed_ = false;
  {
    MutexLock lock(&log_mutex_);
    log_.clear();
  }
  auto store = CallStore::Start(
      std::make_unique<InterposedStorage>(&hooks, *std::move(storage)),
      CallStoreOptions{.config = &config,
                       .clock = &clock,
                       .on_fatal = [this](const absl::Status&) { has_failed_ = true; },
                       .on_log =
                           [this](Config::LogLevel, const std::string& line) {
                             MutexLock lock(&log_mutex_);
                             log_.push_back(line);
                           },
                       .observers = observers,
                       .background_threads = background_threads});
  RETURN_IF_ERROR(store.status());
  store_ = *std::move(store);
  // Made before anything can fail.
  const auto acme = store_->ResolveTenant("acme");
  RETURN_IF_ERROR(acme.status());
  acme_ = *acme;
  return absl::OkStatus();
}

void StoreHarness::Open() {
  const absl::Status status = TryOpen();
  Check(status.ok(), status.ToString().c_str());
}

void StoreHarness::Close() { store_.reset(); }

Tenant* StoreHarness::tenant(const std::string& name) {
  if (name == "acme") return acme_;
  const auto resolved = store_->ResolveTenant(name);
  Check(resolved.ok(), "a tenant can be resolved");
  return *resolved;
}

void StoreHarness::Settle() {
  for (int i = 0; i < 3; ++i) store_->Tick();
}

CallId StoreHarness::NewId() { return NewId(clock.Read().wall); }

CallId StoreHarness::NewId(absl::Time minted) {
  uint8_t random[10] = {};
  StoreBigEndian(random + 2, ++ids_ * 0x9e3779b97f4a7c15);
  return CallId::Mint(minted, random);
}

PutResult StoreHarness::PutInput(const CallId& id, absl::string_view data, absl::Duration ttl,
                                 Tenant* owner) {
  Awaited<std::vector<PutResult>> answer;
  store_->Put(
      OrDefault(owner),
      {NewPut{
          .call_id = id, .payload = MakePayload(data), .ttl_ms = absl::ToInt64Milliseconds(ttl)}},
      answer.callback());
  return answer.Get()[0];
}

PutResult StoreHarness::PutOutput(const CallId& id, absl::string_view data, uint32_t attempt,
                                  absl::Duration ttl, Tenant* owner) {
  Awaited<std::vector<PutResult>> answer;
  store_->Put(OrDefault(owner),
              {NewPut{.call_id = id,
                      .kind = PayloadKind::kOutput,
                      .attempt = attempt,
                      .payload = MakePayload(data),
                      .ttl_ms = absl::ToInt64Milliseconds(ttl)}},
              answer.callback());
  return answer.Get()[0];
}

InputResult StoreHarness::GetInput(const CallId& id, Tenant* owner) {
  Awaited<std::vector<InputResult>> answer;
  store_->GetInputs(OrDefault(owner), {id}, 64 << 20, answer.callback());
  return std::move(answer.Get()[0]);
}

absl::StatusOr<BegunUpload> StoreHarness::BeginUpload(NewUpload upload, Tenant* owner) {
  Awaited<absl::StatusOr<BegunUpload>> begun;
  store_->BeginUpload(OrDefault(owner), std::move(upload), begun.callback());
  return begun.Get();
}

absl::Status StoreHarness::Append(const BegunUpload& begun, uint64_t offset,
                                  const std::string& data) {
  Awaited<absl::Status> appended;
  begun.stream->Append({.offset_bytes = offset, .data = data}, appended.callback());
  return appended.Get();
}

absl::Status StoreHarness::Send(const BegunUpload& begun, const std::string& data, uint64_t from) {
  for (uint64_t offset = from; offset < data.size(); offset += kSegmentBytes) {
    RETURN_IF_ERROR(Append(begun, offset, data.substr(offset, kSegmentBytes)));
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> StoreHarness::Finish(const BegunUpload& begun, const std::string& data) {
  Awaited<absl::StatusOr<int64_t>> finished;
  begun.stream->Finish({.size_bytes = data.size(), .crc32c = Crc32c(AsBytes(data))},
                       finished.callback());
  return finished.Get();
}

absl::StatusOr<int64_t> StoreHarness::Upload(NewUpload upload, const std::string& data) {
  const auto begun = BeginUpload(std::move(upload));
  RETURN_IF_ERROR(begun.status());
  if (begun->stream == nullptr) return begun->deadline_ms;
  RETURN_IF_ERROR(Send(*begun, data));
  return Finish(*begun, data);
}

ClaimRequest StoreHarness::MakeClaim(std::vector<CallId> ids, uint64_t token) {
  return ClaimRequest{.call_ids = std::move(ids),
                      .count_max = 512,
                      .bytes_max = 64 << 20,
                      .wait_ms = 0,
                      .lease_ms = 30'000,
                      .token = MakeToken(token)};
}

ClaimResponse StoreHarness::Claim(const CallId& id, uint64_t token, Tenant* owner) {
  return Claim(MakeClaim({id}, token), owner);
}

ClaimResponse StoreHarness::Claim(ClaimRequest request, Tenant* owner) {
  Awaited<ClaimResponse> answer;
  store_->ClaimOutputs(OrDefault(owner), std::move(request), answer.callback());
  return answer.Get();
}

EndResult StoreHarness::Ack(const CallId& id, uint64_t token, uint64_t fence, Tenant* owner) {
  Awaited<std::vector<EndResult>> answer;
  store_->AckOutputs(OrDefault(owner),
                     {ClaimRef{.call_id = id, .token = MakeToken(token), .fence = fence}},
                     answer.callback());
  return answer.Get()[0];
}

absl::Status StoreHarness::Release(const CallId& id, uint64_t token, uint64_t fence,
                                   Tenant* owner) {
  Awaited<std::vector<absl::Status>> answer;
  store_->ReleaseOutputs(OrDefault(owner),
                         {ClaimRef{.call_id = id, .token = MakeToken(token), .fence = fence}},
                         answer.callback());
  return answer.Get()[0];
}

RenewResult StoreHarness::Renew(const CallId& id, uint64_t token, uint64_t fence,
                                absl::Duration lease, Tenant* owner) {
  Awaited<std::vector<RenewResult>> answer;
  store_->RenewClaims(OrDefault(owner),
                      {ClaimRef{.call_id = id, .token = MakeToken(token), .fence = fence}},
                      absl::ToInt64Milliseconds(lease), answer.callback());
  return answer.Get()[0];
}

CallPhase StoreHarness::Phase(const CallId& id, Tenant* owner) {
  Awaited<std::vector<DescribeResult>> answer;
  store_->DescribeCalls(OrDefault(owner), {id}, answer.callback());
  return answer.Get()[0].phase;
}

EndResult StoreHarness::Delete(const CallId& id, Tenant* owner) {
  Awaited<std::vector<EndResult>> answer;
  store_->DeleteCalls(OrDefault(owner), {id}, answer.callback());
  return answer.Get()[0];
}

}  // namespace mayfly
