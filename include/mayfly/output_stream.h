// An OutputStream brings the outputs of many calls as they arrive, each once.
//
//   mayfly::client::OutputStream stream = client.StreamOutputs();
//   stream.Subscribe(call_ids);                     // ten thousand, or as they are put
//   while (true) {
//     absl::StatusOr<OutputEvent> event = stream.Next();
//     if (absl::IsOutOfRange(event.status())) break;   // every call has been told of
//     if (!event.ok()) return event.status();
//     if (!event->output.ok()) ...                     // this call will never have an output
//     KeepSafely(event->output->payload.data);
//     stream.Ack(event->output->claim);                // erases it; does not wait
//   }
//   absl::Status acked = stream.Flush();               // when this is OK, all acks were
//
// The server holds nothing back and is asked nothing while nothing arrives: waiting is free. At most
// a window of outputs is under way or waits to be taken. Those that were taken stay claimed, and
// their claims are renewed, until Ack or Release, or until the stream is closed.
//
// A connection that breaks is made anew (RetryPolicy), and what was not delivered is subscribed
// again. An output that was delivered is not delivered twice: its ack, on whichever connection,
// claims it again if need be. If a later attempt replaced it before that, the ack ends with
// FAILED_PRECONDITION (CLAIM_LOST), and subscribing to the call again brings the later one.
//
// Thread-safe. Destroying the stream closes it.
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
  // How much may be under way or wait to be taken: outputs, 1 or more, and bytes of their data, or
  // one output if that is larger.
  uint32_t window_items = 1024;
  uint64_t window_bytes = 16 << 20;

  // Outputs up to this are brought whole, downloaded if they do not come in a message; of larger
  // ones only the description comes, with data_omitted: see Client::DownloadOutput.
  uint64_t data_bytes_max = 64 << 20;

  absl::Duration lease = absl::Seconds(30);  // of the claims; renewed
  std::optional<Cancellation> cancellation;  // closes the stream
};

// What became of a subscribed call.
struct OutputEvent {
  std::string call_id;
  // NOT_FOUND: it will never have an output. DATA_LOSS: it was stored damaged, or arrived so.
  // UNAUTHENTICATED, PERMISSION_DENIED, ...: the server refuses the stream. UNAVAILABLE,
  // DEADLINE_EXCEEDED: a large output could not be brought, and was given back: subscribe again.
  absl::StatusOr<ClaimedOutput> output;
};

class OutputStream {
 public:
  using OnEvent = absl::AnyInvocable<void(OutputEvent)>;
  using OnAck = absl::AnyInvocable<void(absl::StatusOr<absl::Time>)>;
  class Reception;

  OutputStream(OutputStream&&) = default;
  OutputStream& operator=(OutputStream&&) noexcept;
  // Releases what was not acknowledged.
  ~OutputStream();

  // Calls to tell of. One that is subscribed already is not subscribed twice, nor is one whose output
  // was told of and neither acknowledged nor released yet.
  void Subscribe(std::vector<std::string> call_ids) const;
  // Calls not to tell of any more; an event that waits to be taken is still given.
  void Unsubscribe(const std::vector<std::string>& call_ids) const;

  // Takes the next event, waiting for it. OUT_OF_RANGE: there is none to come, every subscribed
  // call has been told of. DEADLINE_EXCEEDED: none came within `wait`. CANCELLED: by the options'
  // cancellation. Not for streams with a callback.
  absl::StatusOr<OutputEvent> Next(absl::Duration wait = absl::InfiniteDuration()) const;

  // Ends the call of an output that was delivered, and tells when its payloads were erased; errors
  // as of Client::AckOutput. Without a callback errors are Flush's.
  void Ack(const Claim& claim) const;
  void Ack(const Claim& claim, OnAck done) const;
  // Gives an output back, to be claimed by whoever wants it.
  void Release(const Claim& claim) const;

  // Waits until all acks and releases so far are answered. The first error of an ack without a
  // callback since the last Flush; DEADLINE_EXCEEDED when not all are answered within `timeout`.
  absl::Status Flush(absl::Duration timeout = absl::Seconds(30)) const;

  // How many calls are subscribed and not told of yet.
  size_t PendingCount() const;

  // For the library.
  explicit OutputStream(std::shared_ptr<Reception> reception);

 private:
  std::shared_ptr<Reception> reception_;
};

}  // namespace mayfly::client
