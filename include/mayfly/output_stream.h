// An OutputStream delivers the outputs of many calls as they arrive, each once.
//
//   mayfly::client::OutputStream stream = client.StreamOutputs();
//   stream.Subscribe(call_ids);                     // ten thousand, or as they are put
//   while (true) {
//     absl::StatusOr<OutputEvent> event = stream.Next();
//     if (absl::IsOutOfRange(event.status())) break;   // no call is left
//     if (!event.ok()) return event.status();
//     if (!event->output.ok()) ...                     // this call will never have an output
//     KeepSafely(event->output->payload.data);
//     stream.Ack(event->output->claim);                // has it erased; does not wait
//   }
//   absl::Status acked = stream.Flush();               // waits for all acks
//
// The server sends outputs as soon as they are there, and no requests are sent while none arrives.
// At most a window of outputs has been sent and not been taken. Outputs that were taken stay
// claimed, and their claims are renewed, until Ack or Release, or until the stream is closed.
//
// When the connection breaks, the stream opens another (RetryPolicy), and subscribes again the
// calls whose outputs were not delivered. An output is not delivered twice: if its claim was lost,
// its ack claims it again. If a later attempt replaced the output before that, the ack ends with
// FAILED_PRECONDITION (CLAIM_LOST); subscribe to the call again to get the later output.
//
// Thread-safe. Destroying the stream closes it. No event is delivered after that; a callback that is
// running is waited for, unless it is the one that destroys the stream.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "mayfly/call.h"
#include "mayfly/cancellation.h"
#include "mayfly/client_options.h"
#include "mayfly/payload_io.h"

namespace mayfly::client {

struct OutputStreamOptions {
  // The window: how many outputs, 1 or more, and how many bytes of their data may have been sent
  // and not been taken. A larger output is delivered alone.
  uint32_t window_items = 1024;
  uint64_t window_bytes = 16 << 20;

  // Outputs up to this size are delivered with their data, which is downloaded if it does not fit
  // into a message. Larger ones are delivered with data_omitted: see Client::DownloadOutput.
  uint64_t data_bytes_max = 64 << 20;

  absl::Duration lease = absl::Seconds(30);  // of the claims; renewed
  std::optional<Cancellation> cancellation;  // closes the stream
};

// The output of a subscribed call, or why there is none.
struct OutputEvent {
  std::string call_id;
  // NOT_FOUND: the call will never have an output. DATA_LOSS: the output was stored or arrived
  // damaged. UNAUTHENTICATED, PERMISSION_DENIED, ...: the server rejects the stream. UNAVAILABLE,
  // DEADLINE_EXCEEDED: a large output could not be downloaded, and was released; subscribe again.
  absl::StatusOr<ClaimedOutput> output;
};

class OutputStream {
 public:
  using OnEvent = absl::AnyInvocable<void(OutputEvent)>;
  using OnAck = absl::AnyInvocable<void(absl::StatusOr<absl::Time>)>;
  class State;

  OutputStream(OutputStream&&) = default;
  OutputStream& operator=(OutputStream&&) noexcept;
  // Releases the outputs that were not acknowledged.
  ~OutputStream();

  // Subscribes calls. Ignores a call that is already subscribed, and one whose output was delivered
  // and is neither acknowledged nor released.
  void Subscribe(std::vector<std::string> call_ids) const;
  // Unsubscribes calls. An event that waits to be taken is still delivered.
  void Unsubscribe(const std::vector<std::string>& call_ids) const;

  // Takes the next event, and waits for it. OUT_OF_RANGE: every subscribed call has had its event.
  // DEADLINE_EXCEEDED: there was none within `wait`. CANCELLED: by the Cancellation in the options.
  // Not for streams with a callback.
  absl::StatusOr<OutputEvent> Next(absl::Duration wait = absl::InfiniteDuration()) const;

  // Ends the call of an output that was delivered. `done` gets the time at which its payloads were
  // erased, or an error of Client::AckOutput. Without a callback, Flush returns the error.
  void Ack(const Claim& claim) const;
  void Ack(const Claim& claim, OnAck done) const;
  // Releases an output, so that it can be claimed again.
  void Release(const Claim& claim) const;

  // Waits until all acks and releases so far are answered. Returns the first error, since the last
  // Flush, of an ack without a callback. DEADLINE_EXCEEDED: not all were answered within `timeout`.
  absl::Status Flush(absl::Duration timeout = absl::Seconds(30)) const;

  // How many calls are subscribed and have had no event yet.
  size_t PendingCount() const;

  // For the library.
  explicit OutputStream(std::shared_ptr<State> state);

 private:
  std::shared_ptr<State> state_;
};

}  // namespace mayfly::client
