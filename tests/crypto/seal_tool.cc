// Seals standard input to standard output, for a decryptor that is not ours to open:
//
//   mayfly_seal_tool KEY_HEX CONTEXT_HEX < plaintext > sealed
//
// Only for tests: a key on a command line is a key that every user of the machine can read.
#include <cstdio>
#include <iostream>
#include <iterator>
#include <string>

#include "absl/strings/escaping.h"

#include "crypto/chunked_aead.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: mayfly_seal_tool KEY_HEX CONTEXT_HEX < plaintext > sealed\n";
    return 2;
  }
  const std::string key = absl::HexStringToBytes(argv[1]);
  const std::string context = absl::HexStringToBytes(argv[2]);
  const std::string plaintext(std::istreambuf_iterator<char>(std::cin), {});
  std::string sealed;
  mayfly::Seal(mayfly::InputKey(mayfly::AsBytes(key)), mayfly::AsBytes(context),
               {mayfly::AsBytes(plaintext)}, &sealed);
  const bool written = fwrite(sealed.data(), 1, sealed.size(), stdout) == sealed.size();
  return written && fflush(stdout) == 0 ? 0 : 1;
}
