#include "storage/storage_operations.h"

#include "gtest/gtest.h"

#include "base/error.h"

namespace mayfly {

CallKey TestKey(uint32_t number, uint32_t tenant, int64_t time_ms) {
  uint8_t random[10] = {};
  StoreBigEndian(random + 4, number);
  return {.id = CallId::Mint(absl::FromUnixMillis(time_ms), ByteSpan(random, sizeof random)),
          .tenant = TenantNumber{tenant}};
}

std::string SecretText(const SecretBytes& secret) {
  return std::string(AsText(secret.ExposeBytes()));
}

LoadedCall StorageOperations::Load(const CallKey& key) {
  LoadedCall loaded;
  storage()->Load({&key, 1}, {&loaded, 1});
  return loaded;
}

absl::StatusOr<TestPayload> StorageOperations::Put(const PutOptions& put) {
  attempted.reset();
  LoadedCall loaded;
  storage()->Load({&put.key, 1}, {&loaded, 1});
  RETURN_IF_ERROR(loaded.status);
  auto leases = storage()->ReserveSlots(1);
  RETURN_IF_ERROR(leases.status());
  TestPayload payload = {.key = put.key, .kind = put.kind};
  payload.stored = {.slot = leases->front().ref,
                    .attempt = put.attempt,
                    .size_bytes = put.ciphertext_bytes,
                    .stored_ms = kTestNowMs,
                    .deadline_ms = put.deadline_ms,
                    .segment_count = put.segment_count};
  StoreBigEndian(payload.stored.fingerprint.data(), random());
  payload.secret = SecretText(leases->front().secret);
  payload.ciphertext = RandomText(put.ciphertext_bytes);
  for (uint32_t number = 0; number < put.segment_count; ++number) {
    payload.segments.push_back(RandomText(5000));
    RETURN_IF_ERROR(storage()->WriteSegment(put.key, payload.stored.slot, number, put.deadline_ms,
                                            Sealed::CopyOf(AsBytes(payload.segments.back()))));
  }

  Effects effects;
  effects.store = put.kind;
  if (put.kind == PayloadKind::kInput) effects.remove_input = loaded.state.input;
  if (put.kind == PayloadKind::kOutput) effects.remove_output = loaded.state.output;
  const Sealed row = Sealed::CopyOf(AsBytes(payload.ciphertext));
  const CallChange change = {.key = put.key,
                             .effects = effects,
                             .loaded = &loaded,
                             .payload = payload.stored,
                             .secret = &leases->front().secret,
                             .row = &row};
  attempted = payload;
  RETURN_IF_ERROR(storage()->Commit(0, {&change, 1}, {}));
  return payload;
}

absl::StatusOr<std::vector<SlotRef>> StorageOperations::End(const CallKey& key, EndReason reason) {
  LoadedCall loaded;
  storage()->Load({&key, 1}, {&loaded, 1});
  RETURN_IF_ERROR(loaded.status);
  Effects effects;
  effects.remove_input = loaded.state.input;
  effects.remove_output = loaded.state.output;
  effects.tombstone =
      Tombstone{.reason = reason, .ended_ms = kTestNowMs, .forget_ms = kTestNowMs + 15 * 60 * 1000};
  std::vector<SlotRef> slots;
  if (loaded.state.input) slots.push_back(effects.tombstone->input = loaded.state.input->slot);
  if (loaded.state.output) slots.push_back(effects.tombstone->output = loaded.state.output->slot);
  const CallChange change = {.key = key, .effects = effects, .loaded = &loaded};
  RETURN_IF_ERROR(storage()->Commit(0, {&change, 1}, {}));
  return slots;
}

absl::Status StorageOperations::Ack(const CallKey& key) {
  auto slots = End(key, EndReason::kConsumed);
  RETURN_IF_ERROR(slots.status());
  RETURN_IF_ERROR(storage()->Sync());
  RETURN_IF_ERROR(storage()->Erase(*slots));
  return storage()->Sync();
}

bool StorageOperations::IsReadable(const TestPayload& payload) {
  const PayloadRef ref = payload.ref();
  const auto rows = storage()->ReadRows({&ref, 1});
  if (!rows[0].ok() || AsText(rows[0]->bytes()) != payload.ciphertext) return false;
  for (uint32_t number = 0; number < payload.segments.size(); ++number) {
    const auto segment = storage()->ReadSegment(payload.key, payload.stored.slot, number);
    if (!segment.ok() || AsText(segment->bytes()) != payload.segments[number]) return false;
  }
  const auto secret = storage()->ReadSecret(payload.stored.slot);
  return secret.ok() && SecretText(*secret) == payload.secret;
}

std::string StorageOperations::RandomText(size_t size) {
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

}  // namespace mayfly
