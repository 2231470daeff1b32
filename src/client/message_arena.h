// The arenas on which the messages of one RPC are made.
#pragma once

#include <google/protobuf/arena.h>

namespace mayfly::client {

// A batch of 256 items is some thousand small objects, which are freed at once.
inline google::protobuf::ArenaOptions ArenaOfMessages() {
  google::protobuf::ArenaOptions options;
  options.start_block_size = 4 << 10;
  options.max_block_size = 64 << 10;
  return options;
}

}  // namespace mayfly::client
