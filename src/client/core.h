// What the copies of a Client share: one connection, and one thread that runs whatever happens on
// it.
//
// gRPC's own callback threads are not used: 1.51 joins them when the last channel of the process
// goes, and aborts when that happens on one of them, which is where callbacks run.
#pragma once

#include <memory>
#include <thread>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include <grpcpp/completion_queue.h>
#include <grpcpp/security/credentials.h>

#include "mayfly/client_options.h"
#include "mayfly/v1/function_io.grpc.pb.h"

namespace mayfly::client {

// A tag of the completion queue. It must stay alive until it is called.
class Completion {
 public:
  // To be run when nothing of the call that ended holds the Core any more; may be null.
  using Then = absl::AnyInvocable<void()>;

  virtual ~Completion() = default;
  // On the core's thread; `ok` is false for an alarm that was cancelled.
  virtual Then OnCompletion(bool ok) = 0;
};

// Thread-safe. Whatever is under way holds a reference, so the last one may go on the core's own
// thread too.
class Core {
 public:
  // Connects on first use.
  Core(const std::shared_ptr<grpc::ChannelCredentials>& credentials, const ClientOptions& options);
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  v1::FunctionIo::StubInterface* stub() const { return stub_.get(); }
  grpc::CompletionQueue* queue() const { return queue_.get(); }
  const ClientOptions& options() const { return options_; }
  bool IsOwnThread() const { return std::this_thread::get_id() == thread_.get_id(); }

 private:
  const ClientOptions options_;
  const std::unique_ptr<v1::FunctionIo::StubInterface> stub_;
  const std::shared_ptr<grpc::CompletionQueue> queue_;  // the thread's too
  std::thread thread_;
};

// INVALID_ARGUMENT, naming the field, when an option is out of its range.
absl::Status CheckOptions(const ClientOptions& options);

// From the PEM files. INVALID_ARGUMENT when one cannot be read or holds no PEM.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ReadCredentials(
    const ClientOptions& options);

}  // namespace mayfly::client
