// The id of an upload, derived from what is uploaded.
//
// So the same put has the same id in another process, which resumes where the first one stopped,
// and of two processes that upload the same at a time the newer one takes over.
#pragma once

#include <string>

#include "mayfly/v1/function_io.pb.h"

namespace mayfly::client {

// 16 bytes, the same for the same call, kind, attempt, metadata and size. The server refuses ids of
// other calls, and recognises other data by its checksum.
std::string UploadIdOf(const v1::UploadHeader& header);

}  // namespace mayfly::client
