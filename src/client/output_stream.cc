#include "mayfly/output_stream.h"

#include <utility>

#include "client/output_stream_state.h"

namespace mayfly::client {

OutputStream::OutputStream(std::shared_ptr<State> state) : state_(std::move(state)) {}

OutputStream::~OutputStream() {
  if (state_ == nullptr) return;
  state_->Close(/*is_cancelled=*/false);
  state_->WaitForCallback();
}

OutputStream& OutputStream::operator=(OutputStream&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}

void OutputStream::Subscribe(std::vector<std::string> call_ids) const {
  state_->Subscribe(std::move(call_ids));
}

void OutputStream::Unsubscribe(const std::vector<std::string>& call_ids) const {
  state_->Unsubscribe(call_ids);
}

absl::StatusOr<OutputEvent> OutputStream::Next(absl::Duration wait) const {
  return state_->Next(wait);
}

void OutputStream::Ack(const Claim& claim) const { state_->Ack(claim, nullptr); }

void OutputStream::Ack(const Claim& claim, OnAck done) const {
  state_->Ack(claim, std::move(done));
}

void OutputStream::Release(const Claim& claim) const { state_->Release(claim); }

absl::Status OutputStream::Flush(absl::Duration timeout) const { return state_->Flush(timeout); }

size_t OutputStream::PendingCount() const { return state_->PendingCount(); }

}  // namespace mayfly::client
