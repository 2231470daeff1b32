// The connections of a client: gRPC's channels, opened again with the files' new content when the
// certificate, the key or the CAs have changed on disk, and what is known of why there is none.
//
// gRPC keeps the certificate that a channel was made with. So a call asks for its stub each time,
// and gets one of new channels when the files have changed; calls under way end on the old ones.
// Thread-safe.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include <grpcpp/channel.h>
#include <grpcpp/security/credentials.h>

#include "base/mutex.h"
#include "client/server_address.h"
#include "client/tls_files.h"
#include "mayfly/client_options.h"
#include "mayfly/v1/function_io.grpc.pb.h"

namespace mayfly::client {

class Connections : public std::enable_shared_from_this<Connections> {
 public:
  using Stub = v1::FunctionIo::StubInterface;

  // With the PEM files of `options`. Connects on first use. The errors of LoadTlsFiles.
  static absl::StatusOr<std::shared_ptr<Connections>> Open(const ClientOptions& options);
  // With these credentials for good.
  Connections(const std::shared_ptr<grpc::ChannelCredentials>& credentials, ClientOptions options);

  // For one call: the caller keeps it until the call has ended.
  std::shared_ptr<Stub> NextStub() EXCLUDES_LOCK(mutex_);
  // For a streamed payload: the connections for large payloads take turns.
  std::shared_ptr<Stub> NextLargeStub() EXCLUDES_LOCK(mutex_);

  // Explains the error of a call on `used`: UNAVAILABLE when trying again may help, with the reason
  // why the server cannot be reached; UNAUTHENTICATED when a certificate is at fault.
  // Errors that are no connection's are returned as they are. The first time it may not know yet,
  // and finds out meanwhile.
  absl::Status Explain(const absl::Status& status, const std::shared_ptr<Stub>& used)
      EXCLUDES_LOCK(mutex_);
  // A call was answered.
  void OnAnswer() {
    if (is_failing_.load(std::memory_order_relaxed)) ForgetFailure();
  }
  // Ends the reports to ClientOptions.on_unreachable.
  void Close() EXCLUDES_LOCK(mutex_);

 private:
  // The channels of one version of the files.
  struct Stubs {
    std::shared_ptr<grpc::Channel> channel;  // of `small`
    std::shared_ptr<Stub> small;
    std::vector<std::shared_ptr<Stub>> large;

    bool Has(const std::shared_ptr<Stub>& stub) const;
  };

  Connections(ClientOptions options, TlsTexts texts, std::string version);

  static Stubs OpenStubs(const std::shared_ptr<grpc::ChannelCredentials>& credentials,
                         const ClientOptions& options);
  // Opens new channels if the files have changed and are usable.
  void Refresh(absl::Duration now) REQUIRES_LOCK(mutex_);
  void StartProbe(absl::Duration now) REQUIRES_LOCK(mutex_);
  void OnProbed(const std::string& version, const absl::Status& found) EXCLUDES_LOCK(mutex_);
  void ForgetFailure() EXCLUDES_LOCK(mutex_);
  std::string InOwnWords(const absl::Status& status) const;

  const ClientOptions options_;
  const std::optional<ServerAddress> address_;
  std::atomic<size_t> next_large_ = 0;
  std::atomic<bool> is_failing_ = false;
  // Held while on_unreachable is called, so that it is not called after Close.
  Mutex report_mutex_;
  bool closed_ GUARDED_BY(report_mutex_) = false;

  Mutex mutex_;
  Stubs stubs_ GUARDED_BY(mutex_);
  std::optional<TlsTexts> texts_ GUARDED_BY(mutex_);  // none: the credentials never change
  std::string version_ GUARDED_BY(mutex_);            // of the files with texts_
  absl::Duration checked_ GUARDED_BY(mutex_) = -absl::InfiniteDuration();
  absl::Status unusable_ GUARDED_BY(mutex_);  // why newer files are not used
  bool is_probing_ GUARDED_BY(mutex_) = false;
  absl::Duration probed_ GUARDED_BY(mutex_) = -absl::InfiniteDuration();
  absl::Status found_ GUARDED_BY(mutex_);    // by the last probe; OK: nothing
  std::string reported_ GUARDED_BY(mutex_);  // to on_unreachable
};

}  // namespace mayfly::client
