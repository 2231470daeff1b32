// Damages files as a disk would.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/check.h"
#include "support/raw_file.h"

namespace mayfly {

inline void FlipBit(const std::string& path, uint64_t offset) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(static_cast<std::streamoff>(offset));
  const int byte = file.get();
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(static_cast<char>(byte ^ 1));
  Check(file.good(), "a byte of the file can be changed");
}

// The largest table file of a column family.
inline std::string TableFileOf(const std::string& database, const std::string& family) {
  // A property's name, whose beginning it shares with the one before, and its value.
  const std::string property = "name" + family;
  std::string largest;
  for (const auto& entry : std::filesystem::directory_iterator(database)) {
    const std::string path = entry.path().string();
    if (entry.path().extension() != ".sst") continue;
    if (ReadRaw(path).find(property) == std::string::npos) continue;
    if (largest.empty() || entry.file_size() > std::filesystem::file_size(largest)) largest = path;
  }
  Check(!largest.empty(), "the family has a table file");
  return largest;
}

// In the first data block of that file, which has 16 KiB.
inline void DamageBlock(const std::string& database, const std::string& family) {
  FlipBit(TableFileOf(database, family), 5000);
}

}  // namespace mayfly
