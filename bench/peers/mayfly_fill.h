// Fills Mayfly with many calls: puts inputs that are not retrieved, and checks their state later.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "mayfly_lives.h"
#include "workload.h"

namespace mayfly::peers {

struct Fill {
  uint64_t calls = 0;
  // When all of them end, by the wall clock; 0: the peer's default, or a day where it has none.
  int64_t end_unix_ms = 0;
  // Gets the ids of a thousand of them, spread evenly, one a line. Empty: none.
  std::string sample_path;
};

// Collects the ids of a fill's sample. Not thread-safe.
class FillSample {
 public:
  explicit FillSample(const Fill& fill);

  // `ids` are those of the calls from number `first_call` on.
  void Take(uint64_t first_call, const std::vector<std::string>& ids);
  void WriteOrDie() const;

 private:
  const std::string path_;
  const uint64_t stride_;
  std::string lines_;
};

// Puts the inputs in the workload's batches, as many of them under way as it has lanes.
nlohmann::json RunMayflyFill(const MayflyTarget& target, const Workload& workload,
                             const Fill& fill);

// Asks until the server answers, `patience_s` at most, and then for every call of the sample: how
// many are in each state, and how many inputs can be read. "first_answer_s" is monotonic.
nlohmann::json RunMayflyProbe(const MayflyTarget& target, const std::string& sample_path,
                              double patience_s);

}  // namespace mayfly::peers
