// Any text gives a configuration, or a list of mistakes with their lines.

#include "base/check.h"
#include "config/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const auto config = mayfly::ParseConfig(text);
  mayfly::Check(config.ok() || absl::IsInvalidArgument(config.status()),
                "a wrong configuration is an invalid argument");
  mayfly::Check(config.ok() || !config.status().message().empty(), "a mistake has a text");
  return 0;
}
