#include "python_native/wire.h"

#include <cstring>

namespace mayfly::python {
namespace {

// Wire types.
constexpr uint32_t kVarint = 0;
constexpr uint32_t kFixed64 = 1;
constexpr uint32_t kBytes = 2;
constexpr uint32_t kFixed32 = 5;

// Fields of function_io.proto and status.proto.
constexpr uint32_t kFrameItems = 1;
constexpr uint32_t kNumber = 1;
constexpr uint32_t kAnswerStatus = 2;
constexpr uint32_t kStatusCode = 1;
constexpr uint32_t kClaimToken = 6;
constexpr uint32_t kClaimedOutputs = 1;
constexpr uint32_t kOutputCallId = 1;
constexpr uint32_t kOutputFence = 6;
constexpr uint32_t kReleaseItems = 1;
constexpr uint32_t kReleaseCallId = 1;
constexpr uint32_t kReleaseToken = 2;
constexpr uint32_t kReleaseFence = 3;

void AppendVarint(uint64_t value, std::string* out) {
  for (; value >= 0x80; value >>= 7) out->push_back(static_cast<char>(value | 0x80));
  out->push_back(static_cast<char>(value));
}

void AppendTag(uint32_t field, uint32_t type, std::string* out) {
  AppendVarint(field << 3 | type, out);
}

void AppendBytes(uint32_t field, absl::string_view bytes, std::string* out) {
  AppendTag(field, kBytes, out);
  AppendVarint(bytes.size(), out);
  out->append(bytes.data(), bytes.size());
}

size_t VarintSize(uint64_t value) {
  size_t size = 1;
  for (; value >= 0x80; value >>= 7) ++size;
  return size;
}

// Reads the fields of one message.
class Fields {
 public:
  explicit Fields(absl::string_view message) : rest_(message) {}

  // False at the end, and where the message is malformed.
  bool Next() {
    if (rest_.empty()) return false;
    const uint64_t tag = TakeVarint();
    number = static_cast<uint32_t>(tag >> 3);
    switch (tag & 7) {
      case kVarint:
        value = TakeVarint();
        break;
      case kFixed64:
        TakeFixed(sizeof(uint64_t));
        break;
      case kFixed32:
        TakeFixed(sizeof(uint32_t));
        break;
      case kBytes:
        bytes = Take(TakeVarint());
        break;
      default:
        well_formed_ = false;
    }
    return well_formed_;
  }

  bool well_formed() const { return well_formed_; }

  // Of the field that Next has found.
  uint32_t number = 0;
  uint64_t value = 0;
  absl::string_view bytes;

 private:
  absl::string_view Take(uint64_t size) {
    if (size > rest_.size()) {
      well_formed_ = false;
      return {};
    }
    const absl::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }

  void TakeFixed(size_t size) {
    value = 0;
    const absl::string_view taken = Take(size);
    memcpy(&value, taken.data(), taken.size());  // little-endian, as this machine
  }

  uint64_t TakeVarint() {
    uint64_t result = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      result |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return result;
    }
    well_formed_ = false;
    return 0;
  }

  absl::string_view rest_;
  bool well_formed_ = true;
};

bool ReadCode(absl::string_view status, int* code) {
  Fields fields(status);
  while (fields.Next()) {
    if (fields.number == kStatusCode) *code = static_cast<int>(fields.value);
  }
  return fields.well_formed();
}

bool ReadAnswer(absl::string_view message, NumberedAnswer* answer) {
  Fields fields(message);
  while (fields.Next()) {
    if (fields.number == kNumber) {
      answer->number = fields.value;
    } else if (fields.number == kAnswerStatus) {
      answer->status = fields.bytes;
    } else {
      answer->response = fields.bytes;
    }
  }
  return fields.well_formed() && ReadCode(answer->status, &answer->code);
}

}  // namespace

void AppendRequest(uint64_t number, int method, absl::string_view request, std::string* frame) {
  const auto field = static_cast<uint32_t>(method);
  const size_t size =
      1 + VarintSize(number) + VarintSize(field << 3) + VarintSize(request.size()) + request.size();
  AppendTag(kFrameItems, kBytes, frame);
  AppendVarint(size, frame);
  AppendTag(kNumber, kVarint, frame);
  AppendVarint(number, frame);
  AppendBytes(field, request, frame);
}

bool ReadAnswers(absl::string_view frame, absl::FunctionRef<void(const NumberedAnswer&)> take) {
  Fields fields(frame);
  while (fields.Next()) {
    NumberedAnswer answer;
    if (fields.number != kFrameItems) continue;
    if (!ReadAnswer(fields.bytes, &answer)) return false;
    take(answer);
  }
  return fields.well_formed();
}

std::string ReleaseOf(absl::string_view claim_request, absl::string_view claim_response) {
  absl::string_view token;
  for (Fields fields(claim_request); fields.Next();) {
    if (fields.number == kClaimToken) token = fields.bytes;
  }
  std::string release;
  for (Fields fields(claim_response); fields.Next();) {
    if (fields.number != kClaimedOutputs) continue;
    std::string item;
    for (Fields output(fields.bytes); output.Next();) {
      if (output.number == kOutputCallId) AppendBytes(kReleaseCallId, output.bytes, &item);
      if (output.number != kOutputFence) continue;
      AppendTag(kReleaseFence, kFixed64, &item);
      item.append(reinterpret_cast<const char*>(&output.value), sizeof output.value);
    }
    AppendBytes(kReleaseToken, token, &item);
    AppendBytes(kReleaseItems, item, &release);
  }
  return release;
}

}  // namespace mayfly::python
