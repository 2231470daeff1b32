// Streams payloads through the C++ client: uploads inputs, downloads them as a worker, compares and
// deletes them.
#pragma once

#include <nlohmann/json.hpp>

#include "mayfly_lives.h"
#include "workload.h"

namespace mayfly::peers {

// As many at a time as there are lanes, each of payload_bytes, once; the null server too. Reports
// upload_mb_per_s and download_mb_per_s, all lanes together, 10^6 bytes each.
nlohmann::json RunTransfers(const MayflyTarget& target, const Workload& workload);

}  // namespace mayfly::peers
