#include "store/leaving_payload.h"

#include "absl/time/time.h"

#include "base/error.h"

namespace mayfly {

absl::Status NoRoomError() {
  constexpr absl::Duration kRetryDelay = absl::Seconds(1);
  return WithRetryDelay(
      MakeError(absl::StatusCode::kResourceExhausted, Reason::kOverloaded,
                "payloads that clients have asked for and not read fill the room for them"),
      kRetryDelay);
}

}  // namespace mayfly
