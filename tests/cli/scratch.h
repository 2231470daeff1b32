// A temporary directory for a test, with a list of its files.
#pragma once

#include <filesystem>
#include <fstream>
#include <set>
#include <stdlib.h>
#include <string>

#include "base/check.h"
#include "support/raw_file.h"

namespace mayfly {

class Scratch {
 public:
  Scratch() {
    std::string name = (std::filesystem::temp_directory_path() / "mayfly_cli_XXXXXX").string();
    Check(mkdtemp(name.data()) != nullptr, "a temporary directory can be made");
    path_ = name;
  }
  ~Scratch() { std::filesystem::remove_all(path_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  std::string Path(const std::string& name) const { return path_ + "/" + name; }

  std::string Write(const std::string& name, const std::string& content) const {
    std::ofstream(Path(name), std::ios::binary) << content;
    return Path(name);
  }
  std::string Read(const std::string& name) const { return ReadRaw(Path(name)); }
  std::set<std::string> Names() const {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      names.insert(entry.path().filename().string());
    }
    return names;
  }

 private:
  std::string path_;
};

}  // namespace mayfly
