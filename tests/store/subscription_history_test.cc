// Random histories of several subscriptions against a naive model: no output is lost, delivered to
// two at a time, or delivered after its ack, and all counters are zero at the end.

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gtest/gtest.h>

#include "base/error.h"
#include "store/subscriber.h"
#include "support/random_seed.h"

namespace mayfly {
namespace {

constexpr int64_t kLeaseMs = 30'000;

// The model of a call. It has ended if its reason is set, or by its deadline.
struct ModelCall {
  CallId id;
  std::string data;
  int64_t input_deadline_ms = 0;
  int64_t output_deadline_ms = 0;  // 0: no output
  std::optional<Reason> ended;
  int holder = 0;  // a stream's number, 0 for none
  uint64_t fence = 0;
  int64_t lease_end_ms = 0;

  std::optional<Reason> EndedBy(int64_t now_ms) const {
    if (ended.has_value()) return ended;
    const int64_t deadline_ms = output_deadline_ms != 0 ? output_deadline_ms : input_deadline_ms;
    return deadline_ms <= now_ms ? std::optional<Reason>(Reason::kCallExpired) : std::nullopt;
  }
  bool IsFree(int64_t now_ms) const { return holder == 0 || lease_end_ms <= now_ms; }
};

struct ModelStream {
  int number = 0;
  std::unique_ptr<Subscriber> subscriber;
  int64_t credit_items = 0;
  int64_t credit_bytes = 0;
  std::set<CallId> wants;
};

class History {
 public:
  History(uint64_t seed, uint64_t shards, Config::Durability durability) : random_(seed) {
    harness_.config.storage.shards = shards;
    harness_.config.storage.durability = durability;
    harness_.config.claims.outstanding_max = kClaimsMax;
    harness_.Open();
  }

  void Run(int step_count) {
    for (int step = 0; step < step_count && !testing::Test::HasFailure(); ++step) {
      SCOPED_TRACE(absl::StrCat("step ", step));
      TakeStep();
      Converge();
    }
    Finish();
  }

 private:
  static constexpr int kCallsMax = 24;
  static constexpr int kStreamsMax = 4;
  static constexpr int64_t kClaimsMax = 6;

  int64_t now_ms() { return absl::ToUnixMillis(harness_.clock.Read().wall); }
  uint64_t Pick(uint64_t count) { return random_() % count; }

  void TakeStep() {
    if (streams_.empty()) return OpenStream();
    ModelStream& stream = streams_[Pick(streams_.size())];
    switch (Pick(14)) {
      case 0:
      case 1:
        return PutInput();
      case 2:
      case 3:
        return PutOutput();
      case 4:
      case 5:
        return Subscribe(&stream);
      case 6:
        return Unsubscribe(&stream);
      case 7:
      case 8:
        return Grant(&stream);
      case 9:
        return EndClaim(/*acks=*/true);
      case 10:
        return EndClaim(/*acks=*/false);
      case 11:
        return streams_.size() < kStreamsMax ? OpenStream() : EndStream(Pick(streams_.size()));
      case 12:
        return DeleteCall();
      case 13:
        return harness_.clock.Advance(absl::Milliseconds(Pick(20'000)));
    }
  }

  ModelCall* AnyCall() {
    if (calls_.empty()) return nullptr;
    return &std::next(calls_.begin(), static_cast<int64_t>(Pick(calls_.size())))->second;
  }

  void PutInput() {
    if (calls_.size() >= kCallsMax) return;
    const CallId id = harness_.NewId();
    const absl::Duration ttl = Pick(4) == 0 ? absl::Seconds(1 + Pick(60)) : absl::Hours(2);
    const PutResult put = harness_.PutInput(id, "in", ttl);
    ASSERT_EQ(put.status, absl::OkStatus());
    calls_[id] = ModelCall{.id = id, .input_deadline_ms = put.deadline_ms};
  }
  void PutOutput() {
    ModelCall* const call = AnyCall();
    if (call == nullptr || call->output_deadline_ms != 0 || call->EndedBy(now_ms())) return;
    call->data = std::string(1 + Pick(100), static_cast<char>('a' + Pick(26)));
    const absl::Duration ttl = Pick(4) == 0 ? absl::Seconds(1 + Pick(60)) : absl::Hours(2);
    const PutResult put = harness_.PutOutput(call->id, call->data, 1, ttl);
    ASSERT_EQ(put.status, absl::OkStatus());
    call->output_deadline_ms = put.deadline_ms;
  }
  void Subscribe(ModelStream* stream) {
    std::vector<CallId> ids;
    for (uint64_t i = Pick(6); i > 0; --i) {
      if (const ModelCall* const call = AnyCall()) ids.push_back(call->id);
    }
    if (Pick(10) == 0) {
      const CallId unknown = harness_.NewId();
      calls_[unknown] = ModelCall{.id = unknown, .ended = Reason::kCallUnknown};
      ids.push_back(unknown);
    }
    stream->wants.insert(ids.begin(), ids.end());
    ASSERT_TRUE((*stream->subscriber)->Add(ids));
  }
  void Unsubscribe(ModelStream* stream) {
    std::vector<CallId> ids;
    for (const CallId& id : stream->wants) {
      if (Pick(2) == 0) ids.push_back(id);
    }
    (*stream->subscriber)->Remove(ids);
    if (Pick(2) == 0) {
      ASSERT_TRUE((*stream->subscriber)->Add(ids));
      return;
    }
    for (const CallId& id : ids) stream->wants.erase(id);
  }
  void Grant(ModelStream* stream) {
    const uint64_t items = Pick(4);
    const uint64_t bytes = Pick(200);
    stream->credit_items += static_cast<int64_t>(items);
    stream->credit_bytes += static_cast<int64_t>(bytes);
    (*stream->subscriber)->Grant(items, bytes);
  }
  // Of any call under any stream's name: what it comes to is the model's to say.
  void EndClaim(bool acks) {
    ModelCall* const call = AnyCall();
    if (call == nullptr || call->fence == 0) return;
    ModelStream& stream = streams_[Pick(streams_.size())];
    const bool holds =
        !call->EndedBy(now_ms()) && call->holder == stream.number && !call->IsFree(now_ms());
    const uint64_t token = stream.subscriber->token();
    const absl::Status status = acks ? harness_.Ack(call->id, token, call->fence).status
                                     : harness_.Release(call->id, token, call->fence);
    const bool repeats =
        acks && call->ended == Reason::kOutputConsumed && call->holder == stream.number;
    ASSERT_EQ(status.ok(), holds || repeats) << status;
    if (!status.ok()) return;
    if (acks) {
      call->ended = Reason::kOutputConsumed;
    } else {
      call->holder = 0;
    }
    (*stream.subscriber)->Retry();
  }
  void OpenStream() {
    ModelStream stream{.number = ++last_stream_};
    stream.subscriber = std::make_unique<Subscriber>(
        &harness_,
        Subscriber::Options{.token = static_cast<uint64_t>(stream.number), .lease_ms = kLeaseMs});
    streams_.push_back(std::move(stream));
  }
  void EndStream(size_t place) {
    ModelStream ended = std::move(streams_[place]);
    streams_.erase(streams_.begin() + static_cast<int64_t>(place));
    for (auto& [id, call] : calls_) {
      if (call.holder == ended.number && !call.ended.has_value()) call.holder = 0;
    }
    ASSERT_TRUE(ended.subscriber->End()) << "somebody still owns the subscription";
  }
  void DeleteCall() {
    ModelCall* const call = AnyCall();
    if (call == nullptr || call->EndedBy(now_ms()) || Pick(3) > 0) return;
    ASSERT_EQ(harness_.Delete(call->id).status, absl::OkStatus());
    call->ended = Reason::kCallDeleted;
  }

  void Check(const ModelStream& stream, const ClaimedOutput& output, ModelCall* call) {
    // When it was made, as far as the lease tells.
    const int64_t deadline_ms = call->output_deadline_ms;
    const int64_t claimed_ms =
        output.lease_end_ms == deadline_ms ? now_ms() : output.lease_end_ms - kLeaseMs;
    EXPECT_FALSE(call->ended.has_value()) << "it had ended";
    // A stream that subscribes again to an output that it holds gets it again, under the same
    // claim.
    const bool is_again = call->holder == stream.number && !call->IsFree(claimed_ms);
    EXPECT_TRUE(is_again || call->IsFree(claimed_ms)) << "stream " << call->holder << " holds it";
    EXPECT_TRUE(stream.wants.contains(call->id)) << "it was not asked for";
    EXPECT_EQ(output.fence > call->fence, !is_again);
    EXPECT_GE(output.fence, call->fence);
    EXPECT_GT(stream.credit_items, 0);
    EXPECT_GT(stream.credit_bytes, 0);
    ASSERT_TRUE(output.payload.has_value());
    EXPECT_EQ(output.payload->data, call->data);
  }

  void TakeTold() {
    for (ModelStream& stream : streams_) {
      SCOPED_TRACE(absl::StrCat("stream ", stream.number));
      for (const ClaimedOutput& output : stream.subscriber->TakeOutputs()) {
        ModelCall& call = calls_.at(output.call_id);
        Check(stream, output, &call);
        --stream.credit_items;
        stream.credit_bytes -= static_cast<int64_t>(call.data.size());
        stream.wants.erase(call.id);
        call.holder = stream.number;
        call.fence = output.fence;
        call.lease_end_ms = output.lease_end_ms;
      }
      for (const EndedCall& ended : stream.subscriber->TakeEnded()) {
        EXPECT_EQ(stream.wants.erase(ended.call_id), 1u) << "it was told twice";
        EXPECT_EQ(ReasonOf(ended.status), calls_.at(ended.call_id).EndedBy(now_ms()));
      }
    }
  }

  bool Holds(const ModelStream& stream, const ModelCall& call) {
    return call.holder == stream.number && !call.IsFree(now_ms());
  }
  // Whether it waits for an output that it could claim and does not hold. When the quota is used
  // up, an output that it holds and subscribes to again, which costs no claim, may be behind that
  // one.
  bool HasOthers(const ModelStream& stream) {
    return std::any_of(stream.wants.begin(), stream.wants.end(), [&](const CallId& id) {
      const ModelCall& call = calls_.at(id);
      return call.output_deadline_ms != 0 && call.IsFree(now_ms());
    });
  }

  // Describes an output that should have been delivered by now and was not; empty if there is none.
  std::string Missing() {
    int64_t held = 0;
    for (const auto& [id, call] : calls_) {
      held += !call.EndedBy(now_ms()) && !call.IsFree(now_ms());
    }
    for (const ModelStream& stream : streams_) {
      const bool may_claim = held < kClaimsMax || !HasOthers(stream);
      for (const CallId& id : stream.wants) {
        const ModelCall& call = calls_.at(id);
        if (call.EndedBy(now_ms())) {
          return absl::StrCat("the end of ", id.ToString(), " to stream ", stream.number);
        }
        const bool is_takeable = Holds(stream, call) || call.IsFree(now_ms());
        const bool is_claimable = call.output_deadline_ms != 0 && is_takeable && may_claim &&
                                  stream.credit_items > 0 && stream.credit_bytes > 0;
        if (is_claimable) return absl::StrCat(id.ToString(), " to stream ", stream.number);
      }
    }
    return "";
  }

  // Until all is told that should be; time goes by for lapses, the sweep, and those who wait for
  // others' claims to end.
  void Converge() {
    for (int look = 0; look < 200; ++look) {
      harness_.Settle();
      TakeTold();
      if (testing::Test::HasFailure() || Missing().empty()) return;
      if (look % 4 == 3) harness_.clock.Advance(absl::Milliseconds(500));
      absl::SleepFor(absl::Milliseconds(1));
    }
    FAIL() << "never told: " << Missing();
  }

  // A last subscriber gets every remaining output.
  void Finish() {
    while (!streams_.empty()) EndStream(0);
    EXPECT_EQ(harness_.tenant()->ledger.claims(), 0);
    OpenStream();
    ModelStream& last = streams_[0];
    last.credit_items = last.credit_bytes = 1'000'000;
    (*last.subscriber)->Grant(1'000'000, 1'000'000);
    std::vector<CallId> ids;
    for (const auto& [id, call] : calls_) ids.push_back(id);
    last.wants.insert(ids.begin(), ids.end());
    ASSERT_TRUE((*last.subscriber)->Add(ids));
    // As many at a time as may be claimed.
    while (!testing::Test::HasFailure()) {
      Converge();
      bool acked = false;
      for (auto& [id, call] : calls_) {
        if (call.EndedBy(now_ms()) || call.holder != last.number || call.IsFree(now_ms())) continue;
        ASSERT_EQ(harness_.Ack(id, last.subscriber->token(), call.fence).status, absl::OkStatus());
        call.ended = Reason::kOutputConsumed;
        acked = true;
      }
      if (!acked) break;
      (*last.subscriber)->Retry();
    }
    for (const CallId& id : last.wants) EXPECT_EQ(calls_.at(id).output_deadline_ms, 0);
    EndStream(0);
    EXPECT_EQ(harness_.tenant()->ledger.claims(), 0);
    EXPECT_FALSE(harness_.has_failed());
  }

  std::mt19937_64 random_;
  StoreHarness harness_;
  std::map<CallId, ModelCall> calls_;
  std::vector<ModelStream> streams_;
  int last_stream_ = 0;
};

TEST(SubscriptionHistory, AgreesWithTheModel) {
  for (const uint64_t shards : {1, 3}) {
    for (const auto durability : {Config::Durability::kRelaxed, Config::Durability::kSync}) {
      const uint64_t seed = RandomSeed();
      SCOPED_TRACE(absl::StrCat("seed ", seed, ", shards ", shards, ", sync ",
                                durability == Config::Durability::kSync));
      History(seed, shards, durability).Run(250);
      if (testing::Test::HasFailure()) return;
    }
  }
}

// Everything at once, on threads: each of the streams does as it likes with what it gets, until all
// calls are consumed.
class Crowd {
 public:
  static constexpr int kCalls = 400;
  static constexpr int kStreams = 4;

  explicit Crowd(Config::Durability durability) {
    harness_.config.storage.shards = 2;
    harness_.config.storage.durability = durability;
    harness_.config.claims.outstanding_max = 50;
    harness_.Open();
    for (int i = 0; i < kCalls; ++i) ids_.push_back(harness_.NewId());
    for (const CallId& id : ids_) places_[id] = places_.size();
  }

  void Run(uint64_t seed) {
    std::vector<std::thread> threads;
    threads.emplace_back([this] { Put(); });
    for (int i = 0; i < kStreams; ++i) threads.emplace_back([=, this] { Consume(i, seed + i); });
    for (std::thread& thread : threads) thread.join();
    for (int i = 0; i < kCalls; ++i) {
      EXPECT_EQ(acks_[i], 1) << "call " << i;
      EXPECT_EQ(harness_.Phase(ids_[i]), CallPhase::kConsumed);
    }
    EXPECT_EQ(harness_.tenant()->ledger.claims(), 0);
  }

 private:
  void Put() {
    for (const CallId& id : ids_) {
      ASSERT_EQ(harness_.PutInput(id, "in").status, absl::OkStatus());
    }
    has_inputs_ = true;
    for (const CallId& id : ids_) {
      ASSERT_EQ(harness_.PutOutput(id, "out").status, absl::OkStatus());
    }
  }

  void Consume(int number, uint64_t seed) {
    std::mt19937_64 random(seed);
    while (!has_inputs_) absl::SleepFor(absl::Milliseconds(1));
    const absl::Time give_up = absl::Now() + absl::Seconds(120);
    for (int round = 0; acked_ < kCalls && absl::Now() < give_up; ++round) {
      const uint64_t token = 1 + static_cast<uint64_t>(round) * kStreams + number;
      Subscriber subscriber(&harness_, {.token = token});
      ASSERT_TRUE(subscriber->Add(ids_));
      std::set<int> held;
      for (int step = 0; step < 40 && acked_ < kCalls; ++step) {
        if (random() % 2 == 0) subscriber->Grant(random() % 16, random() % 100);
        for (const ClaimedOutput& output : subscriber.TakeOutputs()) {
          Handle(&subscriber, output, random() % 4, &held);
        }
        absl::SleepFor(absl::Microseconds(500));
      }
      for (const int place : held) holders_[place] = 0;
      ASSERT_TRUE(subscriber.End());
    }
  }

  void Handle(Subscriber* subscriber, const ClaimedOutput& output, uint64_t choice,
              std::set<int>* held) {
    const int place = places_.at(output.call_id);
    const uint64_t token = subscriber->token();
    EXPECT_EQ(holders_[place].exchange(token), 0u) << "two hold call " << place;
    EXPECT_EQ(acks_[place], 0) << "call " << place << " came after its ack";
    if (choice == 0) {
      held->insert(place);  // until the stream ends
    } else if (choice == 1) {
      holders_[place] = 0;
      EXPECT_EQ(harness_.Release(output.call_id, token, output.fence), absl::OkStatus());
      EXPECT_TRUE((*subscriber)->Add({output.call_id}));
    } else {
      EXPECT_EQ(harness_.Ack(output.call_id, token, output.fence).status, absl::OkStatus());
      ++acks_[place];
      ++acked_;
    }
    if (choice != 0) (*subscriber)->Retry();
  }

  StoreHarness harness_;
  std::vector<CallId> ids_;
  std::map<CallId, int> places_;
  std::atomic<bool> has_inputs_{false};
  std::atomic<int> acked_{0};
  std::atomic<int> acks_[kCalls] = {};
  std::atomic<uint64_t> holders_[kCalls] = {};
};

TEST(SubscriptionHistory, OfManyStreamsAtOnceEachCallIsConsumedOnce) {
  for (const auto durability : {Config::Durability::kRelaxed, Config::Durability::kSync}) {
    const uint64_t seed = RandomSeed();
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    Crowd(durability).Run(seed);
  }
}

}  // namespace
}  // namespace mayfly
