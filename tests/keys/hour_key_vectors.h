// Reads hour_key_vectors.txt, which make_hour_key_vectors.py writes from ARCHITECTURE.md.
//
// HOUR_KEY_VECTORS_PATH is defined by the CMakeLists of those who include this.
#pragma once

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"

#include "base/bytes.h"
#include "base/secret_bytes.h"
#include "keys/keyring_format.h"

namespace mayfly {

// A group of lines. A name that is missing fails the test.
class HourKeyVector {
 public:
  bool Has(const std::string& name) const { return fields_.count(name) > 0; }
  std::string Bytes(const std::string& name) const { return absl::HexStringToBytes(Text(name)); }
  SecretBytes Secret(const std::string& name) const { return SecretBytes(AsBytes(Bytes(name))); }
  int64_t Number(const std::string& name) const {
    int64_t number = 0;
    EXPECT_TRUE(absl::SimpleAtoi(Text(name), &number)) << name;
    return number;
  }
  // The bytes and the zeros after them.
  KeyringSector Sector(const std::string& name) const {
    const std::string bytes = Bytes(name);
    KeyringSector sector{};
    EXPECT_LE(bytes.size(), sector.size());
    std::copy(bytes.begin(), bytes.end(), sector.begin());
    return sector;
  }

  void Add(const std::string& line) {
    const std::vector<std::string> field = absl::StrSplit(line, absl::MaxSplits(" = ", 1));
    ASSERT_EQ(field.size(), 2) << line;
    fields_[field[0]] = field[1];
  }

 private:
  std::string Text(const std::string& name) const {
    const auto field = fields_.find(name);
    EXPECT_NE(field, fields_.end()) << "a vector has no " << name;
    return field == fields_.end() ? std::string() : field->second;
  }

  std::map<std::string, std::string> fields_;
};

// The groups that have a line of this name; at least one.
inline std::vector<HourKeyVector> HourKeyVectorsWith(const std::string& name) {
  std::ifstream stream(HOUR_KEY_VECTORS_PATH);
  EXPECT_TRUE(stream.is_open()) << HOUR_KEY_VECTORS_PATH;
  std::vector<HourKeyVector> vectors(1);
  for (std::string line; std::getline(stream, line);) {
    if (line.empty()) vectors.emplace_back();
    if (!line.empty() && line.front() != '#') vectors.back().Add(line);
  }
  std::erase_if(vectors, [&](const HourKeyVector& vector) { return !vector.Has(name); });
  EXPECT_FALSE(vectors.empty()) << name;
  if (vectors.empty()) vectors.emplace_back();
  return vectors;
}
inline HourKeyVector HourKeyVectorWith(const std::string& name) {
  return HourKeyVectorsWith(name).front();
}

// The file of a keyring with the cells of the vectors, whose second bank counts.
inline std::string VectorsKeyringFile() {
  const std::vector<HourKeyVector> cells = HourKeyVectorsWith("cell");
  std::string content(kKeyringBytes, '\0');
  const auto write = [&](uint64_t offset, const KeyringSector& sector) {
    std::copy(sector.begin(), sector.end(), content.begin() + static_cast<ptrdiff_t>(offset));
  };
  for (size_t copy = 0; copy < kKeyringCopies; ++copy) {
    const KeyringPlace place = {.bank = 1, .copy = copy};
    write(OffsetOfKeyringHeader(place), HourKeyVectorWith("header").Sector("header"));
    for (size_t i = 0; i < kKeyringCells; ++i) {
      // The last one has held no key.
      write(OffsetOfKeyringCell(place, i), cells.back().Sector("cell"));
    }
    for (const HourKeyVector& cell : cells) {
      const auto number = static_cast<HourKeyNumber>(cell.Number("number"));
      if (number > 0) write(OffsetOfKeyringCell(place, CellOf(number)), cell.Sector("cell"));
    }
  }
  return content;
}

}  // namespace mayfly
