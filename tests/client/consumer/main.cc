// What a user of the installed library may write. There are no certificates: it fails to connect,
// which is what the test expects.
#include <cstdio>
#include <string>

#include "mayfly/client.h"

namespace {

absl::Status KeepSafely(const std::string& data) {
  return std::fwrite(data.data(), 1, data.size(), stdout) == data.size()
             ? absl::OkStatus()
             : absl::InternalError("stdout is closed");
}

absl::StatusOr<absl::Time> Example() {
  auto client = mayfly::client::Client::Connect({.target = "mayfly.example:7443",
                                                 .ca_file = "ca.pem",
                                                 .certificate_file = "client.pem",
                                                 .key_file = "client.key"});
  if (!client.ok()) return client.status();

  auto put = client->PutInput({.payload = {.data = "6 * 7"}, .ttl = absl::Hours(1)});
  if (!put.ok()) return put.status();

  // ... a worker computes and puts the output of put->call_id ...

  return client->Retrieve(
      put->call_id,
      [](const mayfly::client::ClaimedOutput& output) {
        return KeepSafely(output.payload.data);  // write and fsync: it is erased after this
      },
      {.wait = absl::Minutes(2)});
}

}  // namespace

int main() {
  const absl::Status status = Example().status();
  std::printf("%s\n", std::string(status.message()).c_str());
  return status.code() == absl::StatusCode::kInvalidArgument ? 0 : 1;
}
