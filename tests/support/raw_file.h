// The content of a file as other processes see it.
#pragma once

#include <fstream>
#include <iterator>
#include <string>

namespace mayfly {

// Empty when there is no such file.
inline std::string ReadRaw(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace mayfly
