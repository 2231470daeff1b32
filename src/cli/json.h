// The results of commands as JSON objects. Times are RFC 3339 in UTC, data is base64.
#pragma once

#include "absl/time/time.h"
#include <nlohmann/json.hpp>

#include "mayfly/call.h"

namespace mayfly::cli {

std::string TimeText(absl::Time time);

nlohmann::json ToJson(const client::Stored& stored);
nlohmann::json ToJson(const client::CallDescription& description);
// Durations as absl formats them: "24h", "1m30s". A quota that there is not is null.
nlohmann::json ToJson(const client::ServerInfo& info);
// `with_data` adds "data_base64".
nlohmann::json ToJson(const client::StoredInput& input, bool with_data);
nlohmann::json ToJson(const client::ClaimedOutput& output, bool with_data);

}  // namespace mayfly::cli
