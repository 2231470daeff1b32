#include "crypto/vector_file.h"

#include <fstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"

namespace mayfly {
namespace {

std::pair<std::string, std::string> SplitField(absl::string_view line) {
  const std::pair<absl::string_view, absl::string_view> field =
      absl::StrSplit(line, absl::MaxSplits('=', 1));
  return {std::string(absl::StripAsciiWhitespace(field.first)),
          std::string(absl::StripAsciiWhitespace(field.second))};
}

}  // namespace

std::string Vector::Text(const std::string& name) const {
  const auto field = fields_.find(name);
  EXPECT_NE(field, fields_.end()) << "a vector has no " << name;
  return field == fields_.end() ? std::string() : field->second;
}

std::string Vector::Bytes(const std::string& name) const {
  return absl::HexStringToBytes(Text(name));
}

std::vector<Vector> ReadVectors(const std::string& file, const std::string& first_name) {
  std::ifstream stream(std::string(MAYFLY_CRYPTO_VECTORS_DIR) + "/" + file);
  EXPECT_TRUE(stream.is_open()) << file << " is missing: install python3-cryptography-vectors, or "
                                << "set MAYFLY_CRYPTO_VECTORS_DIR, which is "
                                << MAYFLY_CRYPTO_VECTORS_DIR;
  std::map<std::string, std::string> for_all;
  std::vector<Vector> vectors;
  for (std::string text; std::getline(stream, text);) {
    absl::string_view line = absl::StripAsciiWhitespace(text);
    if (line.empty() || line.front() == '#') continue;
    if (line.front() == '[') {
      auto [name, value] = SplitField(line.substr(1, line.size() - 2));
      for_all[name] = value;
      continue;
    }
    auto [name, value] = SplitField(line);
    if (name == first_name) vectors.emplace_back().fields_ = for_all;
    if (!vectors.empty()) vectors.back().fields_[name] = value;
  }
  EXPECT_FALSE(vectors.empty()) << file << " holds no vectors";
  return vectors;
}

}  // namespace mayfly
