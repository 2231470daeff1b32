#include "rpc/open_calls.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <malloc.h>
#include <pthread.h>
#include <utility>

#include <grpc/support/alloc.h>

namespace mayfly {
namespace {

// Adds to a counter in a map, and removes it at zero.
template <typename Map>
void Subtract(Map* map, typename Map::key_type key, uint64_t bytes) {
  const auto found = map->find(key);
  if (found == map->end()) return;
  if ((found->second -= bytes) == 0) map->erase(found);
}

template <typename Map>
uint64_t CountOf(const Map& map, typename Map::key_type key) {
  const auto found = map.find(key);
  return found == map.end() ? 0 : found->second;
}

}  // namespace

// ---- One call

void OpenCall::Open(grpc_call* call, const PeerChain& chain, const Tenant* tenant) {
  call_ = call;
  chain_ = chain;
  tenant_ = tenant;
  until_ms_ = std::numeric_limits<int64_t>::max();
  calls_->Open(this);
}

void OpenCall::Close() { calls_->Close(this); }

bool OpenCall::Take(const LeavingPayload& payload) { return calls_->Take(this, payload); }

void OpenCall::Return(uint64_t generation) { calls_->Return(this, generation); }

void OpenCall::ExpectEnd(uint64_t generation) { calls_->ExpectEnd(this, generation); }

bool OpenCall::BeginWrite() { return calls_->BeginWrite(this); }

bool OpenCall::EndWrite() {
  written_since_.store(0, std::memory_order_relaxed);
  return !has_ended_.load(std::memory_order_acquire);
}

// ---- Held payloads

void OpenCalls::Open(OpenCall* call) {
  MutexLock lock(&mutex_);
  calls_.insert(call);
}

void OpenCalls::Close(OpenCall* call) {
  MutexLock lock(&mutex_);
  if (calls_.erase(call) == 0) return;
  for (const OpenCall::Held& held : call->held_) Forget(call, held);
  call->held_.clear();
  call->call_ = nullptr;
}

bool OpenCalls::Take(OpenCall* call, const LeavingPayload& payload) {
  MutexLock lock(&mutex_);
  if (call->call_ == nullptr) return false;
  const uint64_t bytes = payload.held_bytes;
  const void* const connection = call->chain_.certificate.data();
  uint64_t& by_connection = held_by_connection_[connection];
  uint64_t& by_tenant = held_by_tenant_[call->tenant_];
  if (held_bytes_ + bytes > limits_.unsent_bytes_max ||
      by_connection + bytes > limits_.connection_unsent_bytes_max ||
      by_tenant + bytes > limits_.tenant_unsent_bytes_max) {
    Subtract(&held_by_connection_, connection, 0);
    Subtract(&held_by_tenant_, call->tenant_, 0);
    return false;
  }
  by_connection += bytes;
  by_tenant += bytes;
  held_bytes_ += bytes;
  peak_bytes_ = std::max(peak_bytes_, held_bytes_);
  call->held_.push_back({.generation = payload.generation,
                         .bytes = bytes,
                         .until_ms = payload.until_ms,
                         .since = tick_.load(std::memory_order_relaxed)});
  call->until_ms_ = std::min(call->until_ms_, payload.until_ms);
  holders_[payload.generation].push_back(call);
  held_count_.fetch_add(1);
  return true;
}

void OpenCalls::Return(OpenCall* call, uint64_t generation) {
  MutexLock lock(&mutex_);
  // Payloads are sent in the order in which they were taken.
  const auto held =
      std::find_if(call->held_.begin(), call->held_.end(),
                   [&](const OpenCall::Held& one) { return one.generation == generation; });
  if (held == call->held_.end()) return;
  Forget(call, *held);
  call->held_.erase(held);
}

void OpenCalls::ExpectEnd(OpenCall* call, uint64_t generation) {
  MutexLock lock(&mutex_);
  for (OpenCall::Held& held : call->held_) {
    if (held.generation != generation || !held.is_indexed) continue;
    held.is_indexed = false;
    RemoveFromIndex(call, generation);
    return;
  }
}

bool OpenCalls::BeginWrite(OpenCall* call) {
  call->written_since_.store(tick_.load(std::memory_order_relaxed), std::memory_order_relaxed);
  if (call->kind_ != OpenCall::Kind::kReply) return true;
  CallStore* const store = store_.load(std::memory_order_acquire);
  const int64_t now_ms = store == nullptr ? 0 : store->ReadMs();
  MutexLock lock(&mutex_);
  return std::none_of(call->held_.begin(), call->held_.end(), [&](const OpenCall::Held& held) {
    return held.ended || held.until_ms <= now_ms;
  });
}

void OpenCalls::Forget(OpenCall* call, const OpenCall::Held& held) {
  held_bytes_ -= held.bytes;
  Subtract(&held_by_connection_, call->chain_.certificate.data(), held.bytes);
  Subtract(&held_by_tenant_, call->tenant_, held.bytes);
  if (held.is_indexed) RemoveFromIndex(call, held.generation);
}

void OpenCalls::RemoveFromIndex(const OpenCall* call, uint64_t generation) {
  const auto holders = holders_.find(generation);
  if (holders == holders_.end()) return;
  const auto holder = std::find(holders->second.begin(), holders->second.end(), call);
  if (holder == holders->second.end()) return;
  holders->second.erase(holder);
  if (holders->second.empty()) holders_.erase(holders);
  held_count_.fetch_sub(1);
}

// ---- Payloads that end

void OpenCalls::OnPayloadsEnded(absl::Span<const uint64_t> generations) {
  // A caller that takes one of these payloads from now on finds nothing to read.
  if (held_count_.load() == 0) return;
  std::vector<Victim> victims;
  {
    MutexLock lock(&mutex_);
    for (const uint64_t generation : generations) {
      const auto holders = holders_.find(generation);
      if (holders == holders_.end()) continue;
      for (OpenCall* const call : holders->second) {
        bool is_stale = false;
        for (OpenCall::Held& held : call->held_) {
          if (held.generation != generation || !held.is_indexed) continue;
          held.ended = true;
          is_stale |= IsStale(*call, held);
        }
        call->has_ended_.store(true, std::memory_order_release);
        if (is_stale && call->cancelled_since_ == 0) victims.push_back(Condemn(call));
      }
    }
  }
  Cancel(victims, absl::StatusCode::kUnavailable, kEndedText);
}

bool OpenCalls::IsStale(const OpenCall& call, const OpenCall::Held& held) const {
  const uint32_t now = tick_.load(std::memory_order_relaxed);
  const uint32_t since = call.kind_ == OpenCall::Kind::kStream
                             ? held.since
                             : call.written_since_.load(std::memory_order_relaxed);
  return since != 0 && now - since >= kStaleTicks;
}

bool OpenCalls::MustDrop(OpenCall* call, int64_t now_ms) {
  if (call->until_ms_ > now_ms && !call->has_ended_.load(std::memory_order_relaxed)) return false;
  // The payload with the earliest deadline may have been sent.
  call->until_ms_ = std::numeric_limits<int64_t>::max();
  bool must_drop = false;
  for (OpenCall::Held& held : call->held_) {
    call->until_ms_ = std::min(call->until_ms_, held.until_ms);
    if (!held.ended && held.until_ms > now_ms) continue;
    call->has_ended_.store(true, std::memory_order_release);
    must_drop |= IsStale(*call, held);
  }
  return must_drop;
}

void OpenCalls::MarkCancelled(OpenCall* call) {
  call->cancelled_since_ = tick_.load(std::memory_order_relaxed);
  if (call->written_since_.load(std::memory_order_relaxed) == 0) return;
  // gRPC drops the peer of a cancelled call, so read it first.
  char* const peer = grpc_call_get_peer(call->call_);
  call->peer_ = peer;
  gpr_free(peer);
}

OpenCalls::Victim OpenCalls::Condemn(OpenCall* call) {
  MarkCancelled(call);
  grpc_call_ref(call->call_);
  return {.call = call->call_, .open_call = call, .chain = call->chain_};
}

// Call without the mutex: gRPC may write the resulting messages in this call.
void OpenCalls::Cancel(const std::vector<Victim>& victims, absl::StatusCode code,
                       const std::string& text) {
  for (const Victim& victim : victims) {
    grpc_call_cancel_with_status(victim.call, static_cast<grpc_status_code>(code), text.c_str(),
                                 nullptr);
    grpc_call_unref(victim.call);
  }
}

// ---- The thread

void OpenCalls::Start(Surroundings surroundings) {
  surroundings_ = std::move(surroundings);
  thread_ = std::thread([this] { Run(); });
  pthread_setname_np(thread_.native_handle(), "open-calls");
}

void OpenCalls::Stop() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  if (thread_.joinable()) thread_.join();
  store_.store(nullptr, std::memory_order_release);
}

void OpenCalls::Run() {
  auto next_tick = std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(kTick);
  while (true) {
    {
      MutexLock lock(&mutex_);
      const absl::Duration rest = absl::FromChrono(next_tick - std::chrono::steady_clock::now());
      if (!stopping_ && rest > absl::ZeroDuration()) changed_.WaitFor(&mutex_, rest);
      if (stopping_) return;
    }
    if (std::chrono::steady_clock::now() < next_tick) continue;
    Tick();
    // Ticks missed on a busy machine are not caught up: two ticks in a row would see every
    // connection unchanged, as if stalled.
    next_tick = std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(kTick);
  }
}

void OpenCalls::Tick() {
  const uint32_t tick = tick_.fetch_add(1, std::memory_order_relaxed) + 1;
  CallStore* const store = store_.load(std::memory_order_acquire);
  if (store != nullptr) DropEnded(store->ReadMs());
  CutStalled();
  GiveBackMemory();
  if (tick % kIdentityTicks != 0) return;
  const auto seconds = static_cast<uint32_t>(
      std::max<int64_t>(1, absl::ToInt64Seconds(surroundings_.reload_interval)));
  if (tick / kIdentityTicks % seconds == 0) {
    surroundings_.tls->Refresh();
  }
  CheckIdentities();
}

void OpenCalls::DropEnded(int64_t now_ms) {
  std::vector<Victim> victims;
  {
    MutexLock lock(&mutex_);
    for (OpenCall* const call : calls_) {
      if (call->cancelled_since_ == 0 && MustDrop(call, now_ms)) victims.push_back(Condemn(call));
    }
  }
  Cancel(victims, absl::StatusCode::kUnavailable, kEndedText);
}

void OpenCalls::CutStalled() {
  std::vector<std::string> watched;
  std::vector<std::string> late;
  std::vector<std::string> cut;
  {
    MutexLock lock(&mutex_);
    const uint32_t now = tick_.load(std::memory_order_relaxed);
    for (OpenCall* const call : calls_) {
      if (call->peer_.empty() || call->written_since_.load(std::memory_order_relaxed) == 0)
        continue;
      if (now - call->cancelled_since_ < kCutTicks) {
        watched.push_back(call->peer_);
      } else {
        late.push_back(call->peer_);
      }
    }
  }
  FullConnections full;
  if (!watched.empty()) full = FindFullConnections(watched);
  for (std::string& peer : stall_watch_.StalledOf(std::move(full))) cut.push_back(std::move(peer));
  // If a connection is not full, its data can still be dropped; only gRPC's callback is late.
  if (!late.empty()) {
    for (const auto& [peer, acked_bytes] : FindFullConnections(late)) cut.push_back(peer);
  }
  if (!cut.empty()) CutConnections(cut);
}

void OpenCalls::CheckIdentities() {
  std::vector<Victim> open;
  {
    MutexLock lock(&mutex_);
    open.reserve(calls_.size());
    for (OpenCall* const call : calls_) {
      if (call->cancelled_since_ != 0) continue;
      grpc_call_ref(call->call_);
      open.push_back({.call = call->call_, .open_call = call, .chain = call->chain_});
    }
  }
  // Without the mutex, because after a change of the file every certificate is verified again. The
  // reference keeps the data of the chain alive.
  for (const Victim& one : open) {
    const absl::Status status = surroundings_.peers->Check(one.chain);
    if (status.ok()) {
      grpc_call_unref(one.call);
      continue;
    }
    {
      MutexLock lock(&mutex_);
      if (calls_.contains(one.open_call) && one.open_call->call_ == one.call) {
        MarkCancelled(one.open_call);
      }
    }
    Cancel({one}, status.code(), std::string(status.message()));
  }
}

void OpenCalls::GiveBackMemory() {
  const uint64_t resets = surroundings_.reset_call_count();
  const uint64_t received = surroundings_.large_message_bytes();
  {
    MutexLock lock(&mutex_);
    const uint32_t now = tick_.load(std::memory_order_relaxed);
    if (trim_at_ == 0) {
      if (peak_bytes_ - held_bytes_ >= kTrimBytesMin) {
        trim_at_ = now + kTrimTicks;
      } else if (resets - resets_at_trim_ >= kTrimResetsMin ||
                 received - received_at_trim_ >= kTrimBytesMin) {
        trim_at_ = now + kResetTrimTicks;
      }
      return;
    }
    if (now < trim_at_) return;
    trim_at_ = 0;
    peak_bytes_ = held_bytes_;
  }
  // gRPC may still be at work on the last ones, so half of them count once more: after many resets or
  // much data it is done a few times.
  resets_at_trim_ += (resets - resets_at_trim_ + 1) / 2;
  received_at_trim_ += (received - received_at_trim_ + 1) / 2;
  malloc_trim(0);
}

}  // namespace mayfly
