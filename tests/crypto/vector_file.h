// Reads published test vectors from Debian's python3-cryptography-vectors.
//
// The files hold "NAME = hex" lines, "[NAME = value]" lines that hold for all that follows, bare
// words such as FAIL, and comments.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace mayfly {

class Vector {
 public:
  bool Has(const std::string& name) const { return fields_.count(name) > 0; }
  // The text after "NAME =". A name that is missing fails the test.
  std::string Text(const std::string& name) const;
  // The same, from hexadecimal to bytes.
  std::string Bytes(const std::string& name) const;

 private:
  friend std::vector<Vector> ReadVectors(const std::string& file, const std::string& first_name);
  std::map<std::string, std::string> fields_;
};

// All vectors of a file under MAYFLY_CRYPTO_VECTORS_DIR; each begins at a line named `first_name`.
// A file that is missing or empty fails the test.
std::vector<Vector> ReadVectors(const std::string& file, const std::string& first_name);

}  // namespace mayfly
