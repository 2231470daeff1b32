// Describes the server to one of its callers, for GetServerInfo.
#pragma once

#include "config/config.h"
#include "mayfly/v1/function_io.pb.h"
#include "rpc/admission.h"

namespace mayfly {

void WriteServerInfo(const Config& config, const Admitted& caller,
                     v1::GetServerInfoResponse* response);

}  // namespace mayfly
