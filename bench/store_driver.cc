#include "store_driver.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/functional/function_ref.h"

#include "base/check.h"
#include "crypto/random.h"

namespace mayfly {
namespace {

constexpr absl::Duration kTtl = absl::Hours(1);

void CheckAll(const std::vector<PutResult>& results) {
  for (const PutResult& result : results) Check(result.status.ok(), "a put succeeds");
}

}  // namespace

StoreDriver::StoreDriver(StoreHarness* harness, const DriverOptions& options)
    : harness_(harness),
      options_(options),
      tenant_(harness->tenant()),
      payload_(options.payload_bytes, 'p') {
  std::vector<uint8_t> random(10 * options.call_count);
  FillRandom(absl::MakeSpan(random));
  const absl::Time now = harness->clock.Read().wall;
  for (uint32_t i = 0; i < options.call_count; ++i) {
    ids_.push_back(CallId::Mint(now, ByteSpan(random).subspan(10 * i, 10)));
  }
}

void StoreDriver::ForEachBatch(absl::FunctionRef<void(uint32_t batch)> start) {
  const uint32_t batch_count = options_.call_count / options_.batch_calls;
  for (uint32_t batch = 0; batch < batch_count; ++batch) {
    {
      MutexLock lock(&mutex_);
      while (in_flight_ >= options_.batches_in_flight) changed_.Wait(&mutex_);
      ++in_flight_;
    }
    start(batch);
  }
  MutexLock lock(&mutex_);
  while (in_flight_ > 0) changed_.Wait(&mutex_);
}

void StoreDriver::Finish() {
  MutexLock lock(&mutex_);
  --in_flight_;
  changed_.NotifyAll();
}

StoreDriver::Ids StoreDriver::IdsOf(uint32_t batch) const {
  const auto first = ids_.begin() + batch * options_.batch_calls;
  return Ids(first, first + options_.batch_calls);
}

void StoreDriver::PutInputs(Ids ids, absl::Duration ttl, absl::AnyInvocable<void()> then) {
  std::vector<NewPut> inputs;
  for (const CallId& id : ids) {
    inputs.push_back({.call_id = id,
                      .payload = {.data = payload_, .metadata = {}},
                      .ttl_ms = absl::ToInt64Milliseconds(ttl)});
  }
  harness_->store()->Put(tenant_, std::move(inputs),
                         [then = std::move(then)](std::vector<PutResult> results) mutable {
                           CheckAll(results);
                           then();
                         });
}

void StoreDriver::PutOutputs(Ids ids, absl::Duration ttl, absl::AnyInvocable<void()> then) {
  std::vector<NewPut> outputs;
  for (const CallId& id : ids) {
    outputs.push_back({.call_id = id,
                       .kind = PayloadKind::kOutput,
                       .attempt = 1,
                       .payload = {.data = payload_, .metadata = {}},
                       .ttl_ms = absl::ToInt64Milliseconds(ttl)});
  }
  harness_->store()->Put(tenant_, std::move(outputs),
                         [then = std::move(then)](std::vector<PutResult> results) mutable {
                           CheckAll(results);
                           then();
                         });
}

void StoreDriver::StartLife(Ids ids) {
  PutInputs(ids, kTtl, [this, ids] {
    harness_->store()->GetInputs(
        tenant_, ids, uint64_t{64} << 20, [this, ids](std::vector<InputResult> inputs) {
          for (const InputResult& input : inputs) {
            Check(input.status.ok() && input.payload->data.size() == options_.payload_bytes,
                  "an input comes back");
          }
          PutOutputs(ids, kTtl, [this, ids] { Claim(ids); });
        });
  });
}

void StoreDriver::Claim(Ids ids) {
  ClaimRequest request = StoreHarness::MakeClaim(std::move(ids), 0);
  FillRandom(absl::MakeSpan(request.token));
  const ClaimToken token = request.token;
  harness_->store()->ClaimOutputs(
      tenant_, std::move(request), [this, token](ClaimResponse response) {
        Check(response.outputs.size() == options_.batch_calls, "every output is claimed");
        std::vector<ClaimRef> claims;
        for (const ClaimedOutput& output : response.outputs) {
          claims.push_back({.call_id = output.call_id, .token = token, .fence = output.fence});
        }
        if (!options_.random_ack_order) return Ack(std::move(claims));
        {
          MutexLock lock(&mutex_);
          claimed_.insert(claimed_.end(), claims.begin(), claims.end());
        }
        Finish();
      });
}

void StoreDriver::Ack(std::vector<ClaimRef> claims) {
  harness_->store()->AckOutputs(tenant_, std::move(claims), [this](std::vector<EndResult> results) {
    for (const EndResult& result : results) {
      Check(result.status.ok(), "an ack succeeds");
    }
    Finish();
  });
}

void StoreDriver::RunLives() {
  ForEachBatch([this](uint32_t batch) { StartLife(IdsOf(batch)); });
  if (!options_.random_ack_order) return;
  std::vector<ClaimRef> claims;
  {
    MutexLock lock(&mutex_);
    claims = std::exchange(claimed_, {});
  }
  std::shuffle(claims.begin(), claims.end(), std::mt19937_64(1));
  ForEachBatch([&](uint32_t batch) {
    const auto first = claims.begin() + batch * options_.batch_calls;
    Ack(std::vector<ClaimRef>(first, first + options_.batch_calls));
  });
}

void StoreDriver::PutAll(absl::Duration ttl) {
  ForEachBatch([&](uint32_t batch) {
    Ids ids = IdsOf(batch);
    PutInputs(ids, ttl, [this, ids, ttl] { PutOutputs(ids, ttl, [this] { Finish(); }); });
  });
}

}  // namespace mayfly
