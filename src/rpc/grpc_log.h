// What gRPC has to say goes to the server's log instead of standard error.
#pragma once

#include "rpc/log.h"

namespace mayfly {

// gRPC has one log per process; `log` must live as long as it.
void SendGrpcLogTo(Log* log);

}  // namespace mayfly
