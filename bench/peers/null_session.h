// Session of the null server. Each message is answered whole by the thread that brought it; the
// responses that collect while one message is being written leave together in the next.
#pragma once

#include <grpcpp/support/server_callback.h>

#include "mayfly/v1/function_io.pb.h"
#include "null_calls.h"

namespace mayfly::peers {

// `calls` outlives the session, which deletes itself when gRPC is done with it.
grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>* NewNullSession(NullCalls* calls);

}  // namespace mayfly::peers
