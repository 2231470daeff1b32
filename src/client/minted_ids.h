// The ids of the items of a request: those that the library has minted, for inputs that came without,
// are replaced once if the server rejects them for their time.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "client/server_time.h"
#include "mayfly/client.h"
#include "mayfly/v1/function_io.pb.h"

namespace mayfly::client {

// Of inputs. Indexes are those of the request's items.
class MintedIds {
 public:
  // For the next item of the request.
  void Add(Input* input) {
    is_minted_.push_back(input->call_id.empty());
    if (input->call_id.empty()) input->call_id = MintCallId();
  }

  // Given the result of an item: whether it has another id now, with which it is sent again.
  bool MintAgain(size_t index, const absl::Status& status, v1::InputItem* item) {
    if (status.ok() || !LearnServerTime(item->call_id(), status) || !is_minted_[index])
      return false;
    is_minted_[index] = false;
    item->set_call_id(MintCallId());
    return true;
  }

  // Keeps these items.
  void Keep(const std::vector<size_t>& indexes) {
    for (size_t i = 0; i < indexes.size(); ++i) is_minted_[i] = is_minted_[indexes[i]];
    is_minted_.resize(indexes.size());
  }

 private:
  std::vector<bool> is_minted_;
};

// Of all other items, whose ids are the callers'.
struct GivenIds {
  template <typename Item>
  void Add(Item*) {}
  template <typename Item>
  bool MintAgain(size_t, const absl::Status&, Item*) {
    return false;
  }
  void Keep(const std::vector<size_t>&) {}
};

}  // namespace mayfly::client
