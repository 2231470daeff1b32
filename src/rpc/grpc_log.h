// What gRPC has to say goes to the server's log instead of standard error.
#pragma once

#include "rpc/log.h"

namespace mayfly {

// gRPC has one log per process. Null drops what it says: to be set before `log` goes.
void SendGrpcLogTo(Log* log);

}  // namespace mayfly
