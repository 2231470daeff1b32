// The StoreId says which store a file belongs to. It is drawn at random when the store is made, and
// stands in the slot file, the keyring, the database and the records of the clock and of its files:
// files of two stores, mixed up, are noticed before anything is read from or written to them.
#pragma once

#include <array>
#include <cstdint>

namespace mayfly {

struct StoreId : std::array<uint8_t, 16> {};

}  // namespace mayfly
