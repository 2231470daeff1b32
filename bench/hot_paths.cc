// Runs the hot paths one at a time, so that bench/regress can count their instructions.
//
//   hot_paths PATH
//
// Prints how many operations it counted: payloads for put and seal_1k, calls with two payloads for
// claim, ack and expire, seconds for close_second, timers for wheel. Callgrind counts between its two client requests, which
// do nothing elsewhere. So that the counts repeat, the store has one shard, no background threads
// and no sync of puts, and one batch at a time is under way.
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include <valgrind/callgrind.h>

#include "base/check.h"
#include "crypto/chunked_aead.h"
#include "crypto/hkdf.h"
#include "crypto/random.h"
#include "keys/keyring.h"
#include "retention/timer_wheel.h"
#include "store/store_harness.h"
#include "support/temporary_directory.h"

namespace mayfly {
namespace {

constexpr size_t kPayloadBytes = 1024;
constexpr size_t kBatchCalls = 256;
// Not counted: threads get their buffers, and symbols their addresses.
constexpr size_t kWarmUpBatches = 2;
constexpr size_t kCountedBatches = 16;
constexpr size_t kAllBatches = kWarmUpBatches + kCountedBatches;

// Has callgrind count all threads, as long as it lives.
class Counting {
 public:
  Counting() { CALLGRIND_START_INSTRUMENTATION; }
  ~Counting() { CALLGRIND_STOP_INSTRUMENTATION; }
  Counting(const Counting&) = delete;
  Counting& operator=(const Counting&) = delete;
};

using Ids = std::vector<CallId>;
using Claims = std::vector<ClaimRef>;

// A store, and batches of calls on their way through it. Each step blocks until it is answered.
class BatchedStore {
 public:
  BatchedStore() {
    harness_.config.storage.durability = Config::Durability::kRelaxed;
    harness_.Open();
  }

  std::vector<Ids> NewBatches(size_t count) {
    std::vector<Ids> batches(count);
    for (Ids& ids : batches) {
      for (size_t i = 0; i < kBatchCalls; ++i) ids.push_back(harness_.NewId());
    }
    return batches;
  }

  void Put(const Ids& ids) {
    std::vector<NewPut> inputs;
    std::vector<NewPut> outputs;
    for (const CallId& id : ids) {
      const NewPayload payload{.data = data_, .metadata = {}};
      inputs.push_back({.call_id = id, .payload = payload, .ttl_ms = kTtlMs});
      outputs.push_back({.call_id = id,
                         .kind = PayloadKind::kOutput,
                         .attempt = 1,
                         .payload = payload,
                         .ttl_ms = kTtlMs});
    }
    Awaited<std::vector<PutResult>> stored_inputs;
    store()->Put(harness_.tenant(), std::move(inputs), stored_inputs.callback());
    CheckAll(stored_inputs.Get());
    Awaited<std::vector<PutResult>> stored_outputs;
    store()->Put(harness_.tenant(), std::move(outputs), stored_outputs.callback());
    CheckAll(stored_outputs.Get());
  }

  Claims Claim(const Ids& ids) {
    ClaimRequest request = StoreHarness::MakeClaim(ids, ++last_token_);
    const ClaimToken token = request.token;
    Awaited<ClaimResponse> answer;
    store()->ClaimOutputs(harness_.tenant(), std::move(request), answer.callback());
    const ClaimResponse response = answer.Get();
    Check(response.outputs.size() == ids.size(), "every output is claimed");
    Claims claims;
    for (const ClaimedOutput& output : response.outputs) {
      claims.push_back({.call_id = output.call_id, .token = token, .fence = output.fence});
    }
    return claims;
  }

  void Ack(Claims claims) {
    Awaited<std::vector<EndResult>> answer;
    store()->AckOutputs(harness_.tenant(), std::move(claims), answer.callback());
    CheckAll(answer.Get());
  }

  void PassTtl() { harness_.clock.Advance(absl::Milliseconds(kTtlMs) + absl::Seconds(2)); }
  void ExpireAll() {
    while (harness_.tenant()->ledger.live_calls() > 0) store()->Tick();
  }

 private:
  static constexpr int64_t kTtlMs = 60'000;

  template <typename Result>
  static void CheckAll(const std::vector<Result>& results) {
    for (const Result& result : results) Check(result.status.ok(), "every call is served");
  }
  CallStore* store() { return harness_.store(); }

  StoreHarness harness_;
  const std::string data_ = std::string(kPayloadBytes, 'p');
  uint64_t last_token_ = 0;
};

// Calls work(batch) for every batch, and counts all but the first few. Returns how many calls the
// counted ones have.
size_t CountBatches(absl::FunctionRef<void(size_t batch)> work) {
  for (size_t batch = 0; batch < kWarmUpBatches; ++batch) work(batch);
  const Counting counting;
  for (size_t batch = kWarmUpBatches; batch < kAllBatches; ++batch) work(batch);
  return kCountedBatches * kBatchCalls;
}

size_t CountPut() {
  BatchedStore store;
  const std::vector<Ids> batches = store.NewBatches(kAllBatches);
  return 2 * CountBatches([&](size_t batch) { store.Put(batches[batch]); });
}

size_t CountClaim() {
  BatchedStore store;
  const std::vector<Ids> batches = store.NewBatches(kAllBatches);
  for (const Ids& ids : batches) store.Put(ids);
  return CountBatches([&](size_t batch) { store.Claim(batches[batch]); });
}

size_t CountAck() {
  BatchedStore store;
  std::vector<Claims> batches;
  for (const Ids& ids : store.NewBatches(kAllBatches)) {
    store.Put(ids);
    batches.push_back(store.Claim(ids));
  }
  return CountBatches([&](size_t batch) { store.Ack(std::move(batches[batch])); });
}

size_t CountExpire() {
  BatchedStore store;
  for (const Ids& ids : store.NewBatches(kWarmUpBatches)) store.Put(ids);
  store.PassTtl();
  store.ExpireAll();
  for (const Ids& ids : store.NewBatches(kCountedBatches)) store.Put(ids);
  store.PassTtl();
  const Counting counting;
  store.ExpireAll();
  return kCountedBatches * kBatchCalls;
}

// With all key derivation, as the store has it for every payload.
size_t CountSeal() {
  const HmacKey leaf(AsBytes("a second's leaf: thirty-two bytes"));
  const std::vector<uint8_t> context(72, 'c');
  const std::vector<uint8_t> plaintext(kPayloadBytes, 'p');
  std::vector<uint8_t> sealed(SealedSize(kPayloadBytes));
  return CountBatches([&](size_t) {
    for (size_t i = 0; i < kBatchCalls; ++i) {
      uint8_t slot_secret[20];
      FillRandom(absl::MakeSpan(slot_secret));
      uint8_t input_key[kInputKeySize];
      HkdfExtract(leaf, slot_secret, input_key);
      Seal(InputKey(input_key), context, {plaintext}, absl::MakeSpan(sealed));
    }
  });
}

// Of one hour, under which something was sealed: a cell in two copies, which are synced.
size_t CountCloseSecond() {
  constexpr int64_t kFirstSecond = int64_t{490'000} * kSecondsPerHour;
  constexpr int64_t kWarmUpSeconds = 16;
  constexpr int64_t kCountedSeconds = 256;
  TemporaryDirectory directory;
  auto keyring = Keyring::Create(PosixFileSystem(), directory.path(), SecretBytes(kHourKeySize),
                                 StoreId{}, kFirstSecond * 1000);
  Check(keyring.ok(), "a keyring can be made");
  const auto close = [&](int64_t second) {
    const int64_t due_s = kFirstSecond + second;
    const auto number = (*keyring)->NumberFor(due_s);
    Check(number.ok(), "its hour has a key");
    Check((*keyring)->Extract({.hour_key = *number, .due_s = due_s}, AsBytes("a secret")).ok(),
          "its second is open");
    Check((*keyring)->Close(due_s * 1000).ok(), "it can be closed");
  };
  for (int64_t second = 0; second < kWarmUpSeconds; ++second) close(second);
  const Counting counting;
  for (int64_t second = 0; second < kCountedSeconds; ++second) close(kWarmUpSeconds + second);
  return kCountedSeconds;
}

// Every second timer is cancelled, the others fall due.
size_t CountWheel() {
  constexpr int64_t kTickMs = 100;
  constexpr int64_t kSpreadTicks = 32;
  TimerWheel wheel({});
  std::vector<uint64_t> due;
  due.reserve(kBatchCalls);
  int64_t now_ms = 0;
  return CountBatches([&](size_t) {
    for (size_t i = 0; i < kBatchCalls; ++i) {
      const int64_t wait_ms = kTickMs * (1 + static_cast<int64_t>(i) % kSpreadTicks);
      const auto handle = wheel.Schedule(now_ms + wait_ms, i);
      Check(handle.has_value(), "the deadline is in reach");
      if (i / kSpreadTicks % 2 == 0) Check(wheel.Cancel(*handle), "the timer is there");
    }
    due.clear();
    for (int64_t tick = 0; tick < kSpreadTicks; ++tick) {
      wheel.Advance(now_ms += kTickMs, kBatchCalls, &due);
    }
    Check(due.size() == kBatchCalls / 2, "every other timer falls due");
  });
}

constexpr std::pair<absl::string_view, size_t (*)()> kPaths[] = {
    {"put", CountPut},       {"claim", CountClaim},  {"ack", CountAck},
    {"expire", CountExpire}, {"seal_1k", CountSeal}, {"close_second", CountCloseSecond},
    {"wheel", CountWheel},
};

}  // namespace
}  // namespace mayfly

int main(int argc, char** argv) {
  for (const auto& [name, count] : mayfly::kPaths) {
    if (argc != 2 || name != argv[1]) continue;
    std::cout << count() << "\n";
    return 0;
  }
  std::cerr << "usage: hot_paths PATH, which is one of:";
  for (const auto& [name, count] : mayfly::kPaths) std::cerr << " " << name;
  std::cerr << "\n";
  return 2;
}
