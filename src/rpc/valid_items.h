// Converts the items of a message to the store's types, and the store's answers to one result per
// item.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include <google/protobuf/repeated_ptr_field.h>

#include "rpc/answer.h"
#include "rpc/log.h"
#include "rpc/status.h"
#include "rpc/validation.h"

namespace mayfly {

// Longer texts are not call ids and are not echoed.
inline constexpr size_t kEchoBytesMax = 64;

inline const std::string& CallIdText(const std::string& call_id) { return call_id; }
template <typename Item>
const std::string& CallIdText(const Item& item) {
  return item.call_id();
}

// The valid items of a request, and the result message of each.
template <typename Value, typename Result>
struct ValidItems {
  std::vector<Value> values;
  std::vector<Result*> results;
};

// Creates a result for each item. `read` converts an item; when it fails, the result gets its error
// at once.
template <typename Value, typename Result, typename Items, typename Read>
ValidItems<Value, Result> ReadItems(const Items& items, absl::string_view list,
                                    google::protobuf::RepeatedPtrField<Result>* results, Log* log,
                                    Read read) {
  ValidItems<Value, Result> valid;
  valid.values.reserve(items.size());
  valid.results.reserve(items.size());
  results->Reserve(items.size());
  for (int i = 0; i < items.size(); ++i) {
    Result* const result = results->Add();
    const std::string& call_id = CallIdText(items[i]);
    if (call_id.size() <= kEchoBytesMax) result->set_call_id(call_id);
    absl::StatusOr<Value> value = read(items[i], FieldPlace{.list = list, .index = i});
    if (!value.ok()) {
      *result->mutable_status() = ToWireStatus(value.status(), log);
      continue;
    }
    valid.values.push_back(*std::move(value));
    valid.results.push_back(result);
  }
  return valid;
}

// An id that was minted here is news to the client.
inline void NameMintedCalls(const ValidItems<NewPut, v1::PutInputResult>& valid) {
  for (size_t i = 0; i < valid.values.size(); ++i) {
    if (!valid.results[i]->call_id().empty()) continue;
    valid.results[i]->set_call_id(valid.values[i].call_id.ToString());
  }
}

// Writes the answers to the valid items into their results.
template <typename Result, typename Answer>
void WriteResults(std::vector<Answer> answers, const std::vector<Result*>& results, Log* log) {
  for (size_t i = 0; i < results.size(); ++i) WriteResult(std::move(answers[i]), log, results[i]);
}

// A call with a malformed id will never have an output, so a claim reports it as an ended call.
inline void WriteMalformedCall(const std::string& call_id, const absl::Status& status, Log* log,
                               v1::EndedCall* ended) {
  if (call_id.size() <= kEchoBytesMax) ended->set_call_id(call_id);
  *ended->mutable_status() = ToWireStatus(status, log);
}

}  // namespace mayfly
