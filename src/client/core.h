// What the copies of a Client share: connections, one thread that runs whatever happens on them,
// and what gathers the calls of single items.
#pragma once

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include <grpcpp/security/credentials.h>

#include "client/dispatcher.h"
#include "mayfly/client_options.h"
#include "mayfly/v1/function_io.grpc.pb.h"

namespace mayfly::client {

class Outputs;
class Singles;
class TransferPool;

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
  // For a payload that is streamed: of all such connections the next one.
  v1::FunctionIo::StubInterface* NextLargeStub();
  const std::shared_ptr<Dispatcher>& dispatcher() const { return dispatcher_; }
  grpc::CompletionQueue* queue() const { return dispatcher_->queue(); }
  const ClientOptions& options() const { return options_; }
  bool IsOwnThread() const { return std::this_thread::get_id() == thread_.get_id(); }

  Singles* singles() const { return singles_.get(); }
  // What is awaited and held for Client::AwaitOutput and Retrieve.
  Outputs* outputs() const { return outputs_.get(); }
  TransferPool* transfer_pool() const { return transfer_pool_.get(); }

 private:
  const ClientOptions options_;
  const std::unique_ptr<v1::FunctionIo::StubInterface> stub_;
  std::vector<std::unique_ptr<v1::FunctionIo::StubInterface>> large_stubs_;
  std::atomic<size_t> next_large_stub_ = 0;
  std::thread thread_;
  std::shared_ptr<Dispatcher> dispatcher_;
  std::unique_ptr<Singles> singles_;
  std::unique_ptr<TransferPool> transfer_pool_;
  std::shared_ptr<Outputs> outputs_;
};

// INVALID_ARGUMENT, naming the field, when an option is out of its range.
absl::Status CheckOptions(const ClientOptions& options);

// From the PEM files. INVALID_ARGUMENT when one cannot be read or holds no PEM.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ReadCredentials(
    const ClientOptions& options);

}  // namespace mayfly::client
