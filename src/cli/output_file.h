// Writes a payload to a file so that it is either there as a whole and durable, or not at all.
#pragma once

#include <string>

#include "absl/status/status.h"

#include "base/bytes.h"
#include "base/file_system.h"

namespace mayfly::cli {

// Before anything is claimed for it: INVALID_ARGUMENT when `path` names something that must not be
// replaced, such as a directory or a device, or its directory is not there.
absl::Status CheckOutputPath(const std::string& path);

// Writes a temporary neighbour, syncs it, renames it over `path` and syncs the directory. A link is
// followed, not replaced. FAILED_PRECONDITION when one of these fails: `path` is as it was then,
// and the neighbour is gone; only if it is the last does `path` have the new content.
absl::Status WriteOutputFile(FileSystem* file_system, const std::string& path, ByteSpan data);

}  // namespace mayfly::cli
